"""The pause a throttling target asked for is kept, and never cut short."""

import pytest

from resilience.call import AttemptKind, Call
from resilience.cooldown import CooldownGate
from resilience.deadline import Deadline
from resilience.errors import CoolingDown
from resilience.events import CooldownStarted
from resilience.testing import ManualClock
from tests.resilience.scenery import (
    UNAVAILABLE,
    ProviderError,
    Recorder,
    classify,
    throttled,
)


class Caller:
    """Sends attempts through one gate."""

    def __init__(self, clock: ManualClock) -> None:
        self.gate = CooldownGate("a", clock, classify)
        self.heard = Recorder()
        self.call = Call(Deadline.after(clock, 1e6), listener=self.heard)
        self.sends = 0

    async def send(self, error: Exception | None = None, kind: str = "primary") -> str:
        async def operation(call: Call) -> str:
            self.sends += 1
            if error is not None:
                raise error
            return "answer"

        self.call.kind = AttemptKind(kind)
        return await self.gate.execute(operation, self.call)

    async def throttle(self, named_s: float | None, kind: str = "primary") -> float:
        """Be throttled; return how long the target is left alone from now."""
        error = ProviderError(throttled(named_s))
        with pytest.raises(ProviderError) as caught:
            await self.send(error, kind)
        assert caught.value is error
        return self.gate.remaining_s


@pytest.fixture
def caller(clock: ManualClock) -> Caller:
    return Caller(clock)


async def test_a_named_pause_is_kept_to_its_end(
    caller: Caller, clock: ManualClock
) -> None:
    assert await caller.throttle(5.0) == 5.0
    clock.advance(4.999)

    with pytest.raises(CoolingDown) as caught:
        await caller.send()
    assert caught.value.retry_after_s == pytest.approx(0.001)
    assert caller.sends == 1

    clock.advance(0.002)
    assert await caller.send() == "answer"
    assert caller.heard.events == [CooldownStarted("a", 5.0)]


async def test_a_later_shorter_pause_does_not_cut_a_longer_one_short(
    clock: ManualClock,
) -> None:
    gate = CooldownGate("a", clock, classify)
    call = Call(Deadline.after(clock, 1e6))
    released = []

    async def under_way(call: Call) -> None:
        # Both were sent before either was answered.
        if not released:
            released.append(True)
            with pytest.raises(ProviderError):
                await gate.execute(under_way, call)
            raise ProviderError(throttled(1.0))
        raise ProviderError(throttled(60.0))

    with pytest.raises(ProviderError):
        await gate.execute(under_way, call)

    assert gate.remaining_s == 60.0


async def test_a_guessed_pause_doubles_in_a_row_up_to_the_cap(
    caller: Caller, clock: ManualClock
) -> None:
    pauses = []
    for _ in range(8):
        pauses.append(await caller.throttle(None))
        clock.advance(pauses[-1])

    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


async def test_a_night_of_throttling_does_not_overflow(
    caller: Caller, clock: ManualClock
) -> None:
    for _ in range(1100):
        clock.advance(await caller.throttle(None))

    assert await caller.throttle(None) == 30.0


async def test_an_answer_starts_the_row_anew(
    caller: Caller, clock: ManualClock
) -> None:
    for _ in range(3):
        clock.advance(await caller.throttle(None))
    await caller.send()

    assert await caller.throttle(None) == 1.0


async def test_an_answer_during_a_pause_leaves_the_next_guess_whole(
    caller: Caller,
) -> None:
    await caller.throttle(None)
    await caller.send(kind="retry")

    assert await caller.throttle(None, kind="retry") == 1.0


async def test_a_guessed_pause_lets_a_retry_through_but_no_new_call(
    caller: Caller,
) -> None:
    await caller.throttle(None)

    with pytest.raises(CoolingDown):
        await caller.send()
    assert await caller.send(kind="retry") == "answer"


async def test_a_named_pause_keeps_retries_away_too(caller: Caller) -> None:
    await caller.throttle(3.0)

    with pytest.raises(CoolingDown):
        await caller.send(kind="retry")


async def test_a_broken_header_does_not_switch_a_target_off_for_good(
    caller: Caller,
) -> None:
    assert await caller.throttle(1e9) == 3600.0


async def test_other_failures_start_no_pause(caller: Caller) -> None:
    with pytest.raises(ProviderError):
        await caller.send(ProviderError(UNAVAILABLE))

    assert caller.gate.remaining_s == 0.0


async def test_an_operator_can_end_a_pause(caller: Caller) -> None:
    await caller.throttle(60.0)

    caller.gate.clear()

    assert await caller.send() == "answer"


def test_there_is_no_pause_at_first_whatever_the_clock_says() -> None:
    assert CooldownGate("a", ManualClock(-50.0), classify).remaining_s == 0.0
