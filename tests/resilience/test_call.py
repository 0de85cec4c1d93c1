"""A call: its attempts, its forks, and who releases what."""

import asyncio

import pytest

from resilience.call import AttemptKind, Call
from resilience.deadline import Deadline
from resilience.events import AttemptStarted
from resilience.policy import run_attempt
from resilience.testing import ManualClock
from tests.resilience.scenery import Cue, ProviderError, Recorder


@pytest.fixture
def call(clock: ManualClock) -> Call:
    return Call(Deadline.after(clock, 10.0), max_attempts=2, labels={"route": "chat"})


def test_an_attempt_is_counted_and_told_of_when_it_is_sent(clock: ManualClock) -> None:
    heard = Recorder()
    call = Call(Deadline.after(clock, 10.0), max_attempts=2, listener=heard)
    call.target = "a"

    attempt = call.begin_attempt()

    assert (attempt.target, attempt.number, attempt.kind) == ("a", 1, "primary")
    assert heard.events == [AttemptStarted(attempt)]
    assert (call.attempts, call.attempts_left) == ([attempt], 1)


def test_forks_share_deadline_attempts_and_labels_but_not_leases(call: Call) -> None:
    fork = call.fork()
    fork.begin_attempt()

    assert call.attempts_left == 1
    assert fork.labels == call.labels == {"route": "chat"}
    assert fork.deadline is call.deadline
    assert fork.leases is not call.leases
    assert call.attempt is None


async def test_an_attempt_that_opens_hands_its_leases_to_the_call(call: Call) -> None:
    cue = Cue()

    async def opens(fork: Call) -> str:
        fork.leases.push(cue)
        fork.begin_attempt()
        return "opened"

    assert await run_attempt(opens, call, AttemptKind.RETRY) == "opened"

    assert cue.told == []
    assert call.kind is AttemptKind.RETRY
    assert call.attempt is call.attempts[0]
    error = ProviderError()
    await call.close(error)
    assert cue.told == [error]


async def test_an_attempt_that_fails_releases_its_leases_with_its_error(
    call: Call,
) -> None:
    cue, kept, error = Cue(), Cue(), ProviderError()
    call.leases.push(kept)

    async def fails(fork: Call) -> None:
        fork.leases.push(cue)
        raise error

    with pytest.raises(ProviderError) as caught:
        await run_attempt(fails, call, AttemptKind.PRIMARY)

    assert caught.value is error
    assert (cue.told, kept.told) == ([error], [])
    assert call.kind is AttemptKind.PRIMARY


async def test_a_failing_release_does_not_replace_the_error(call: Call) -> None:
    error = ProviderError()

    async def fails(fork: Call) -> None:
        async def cannot_close() -> None:
            await asyncio.sleep(0)
            raise OSError("socket is gone")

        fork.leases.push_async_callback(cannot_close)
        raise error

    with pytest.raises(ProviderError) as caught:
        await run_attempt(fails, call, AttemptKind.PRIMARY)

    assert caught.value is error
    assert error.__context__ is None


async def test_a_call_cancelled_while_it_closes_a_failed_attempt_is_cancelled_after_it(
    call: Call,
) -> None:
    cue = Cue()

    async def fails(fork: Call) -> None:
        fork.leases.push(cue)
        fork.leases.push_async_callback(asyncio.sleep, 5.0)
        raise ProviderError

    running = asyncio.create_task(run_attempt(fails, call, AttemptKind.PRIMARY))
    await asyncio.sleep(1.0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert len(cue.told) == 1


async def test_closing_twice_releases_once(call: Call) -> None:
    cue = Cue()
    call.leases.push(cue)

    await call.close()
    await call.close(ProviderError())

    assert cue.told == [None]


def test_times_of_an_attempt_are_told_only_when_they_are_known(
    call: Call, clock: ManualClock
) -> None:
    attempt = call.begin_attempt()
    assert (attempt.first_token_s, attempt.per_token_s, attempt.duration_s) == (
        None,
        None,
        None,
    )
    clock.advance(2.0)
    call.mark_first_token()
    attempt.tokens = 5
    clock.advance(8.0)
    attempt.ended_at_s = clock.now()

    assert (attempt.first_token_s, attempt.per_token_s, attempt.duration_s) == (
        2.0,
        2.0,
        10.0,
    )


def test_the_first_token_is_marked_once_and_passed_on(
    call: Call, clock: ManualClock
) -> None:
    told: list[float] = []
    call.on_first_token = lambda: told.append(clock.now())
    call.mark_first_token()
    assert told == [], "without an attempt there is no first token"
    attempt = call.begin_attempt()

    call.mark_first_token()
    clock.advance(1.0)
    call.mark_first_token()

    assert told == [attempt.first_token_at_s] == [1000.0]


def test_an_answer_in_one_piece_has_no_first_token(call: Call) -> None:
    told: list[str] = []
    call.expect_whole()
    attempt = call.begin_attempt()
    call.on_first_token = lambda: told.append("limit lifted")

    call.expect_whole()

    assert (attempt.whole, attempt.first_token_s, told) == (
        True,
        None,
        ["limit lifted"],
    )


def test_a_listener_that_raises_does_not_reach_the_call(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def on_event(self, event: object) -> None:
            raise RuntimeError("listener")

    call = Call(Deadline.after(clock, 10.0), listener=Broken())

    call.begin_attempt()

    assert "a listener failed on AttemptStarted" in caplog.text


@pytest.mark.parametrize("at_s", [0.0, -1.0])
def test_a_deadline_of_no_time_has_passed(clock: ManualClock, at_s: float) -> None:
    deadline = Deadline.after(clock, at_s)

    assert deadline.passed
    assert deadline.remaining_s() == at_s


def test_a_deadline_shrinks_with_time(clock: ManualClock) -> None:
    deadline = Deadline.after(clock, 2.0)
    clock.advance(1.5)

    assert not deadline.passed
    assert deadline.remaining_s() == 0.5
