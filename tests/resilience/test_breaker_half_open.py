"""A half-open breaker: counted probes decide, and it never gets stuck."""

import asyncio

import pytest

from resilience.admission import BreakerAdmit, BreakerPeek
from resilience.breaker import Breaker, BreakerConfig
from resilience.bulkhead import Bulkhead
from resilience.call import Call
from resilience.errors import BreakerOpen
from resilience.events import BreakerRejected
from resilience.pipeline import Pipeline
from resilience.testing import LoopClock, ScriptedOperation
from tests.resilience.breaker_driver import Driven
from tests.resilience.scenery import (
    AUTH_FAILED,
    ProviderError,
    Recorder,
    classify,
    make_call,
    middle,
)


def test_it_admits_only_the_configured_probes_at_once() -> None:
    driven = Driven(permitted=3, concurrent=2)
    driven.half_open()
    driven.admit()

    assert driven.state == "half_open"
    assert driven.refused().retry_after_s == 1.0
    assert not driven.breaker.ready


def test_it_closes_when_all_probes_are_in_and_good() -> None:
    driven = Driven(permitted=3)
    driven.half_open().ok()
    driven.succeed()
    assert driven.state == "half_open"

    driven.succeed()

    assert driven.state == "closed"
    assert driven.changes == [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
    ]
    assert driven.breaker.totals.recorded == 0


@pytest.mark.parametrize(
    ("verdicts", "state"),
    [("ok ok bad", "closed"), ("ok bad ok", "closed"), ("ok bad bad", "open")],
)
def test_the_failure_ratio_over_all_probes_decides(verdicts: str, state: str) -> None:
    driven = Driven(permitted=3, failure_ratio=0.5)
    permit = driven.half_open()
    for verdict in verdicts.split():
        permit = permit or driven.admit()
        permit.ok() if verdict == "ok" else permit.fail()
        permit = None

    assert driven.state == state


def test_a_first_probe_that_fails_opens_it_again_at_once() -> None:
    driven = Driven(permitted=3, failure_ratio=1.0)
    driven.half_open().fail()

    assert driven.state == "open"
    assert driven.breaker.open_for_s == pytest.approx(20.0)


def test_it_opens_again_as_soon_as_the_failures_cannot_be_outweighed() -> None:
    driven = Driven(permitted=6, failure_ratio=0.5)
    driven.half_open().ok()
    driven.fail(2)
    assert driven.state == "half_open"

    driven.fail()

    assert driven.state == "open"


def test_it_closes_only_when_all_probes_are_in_although_it_is_certain_before() -> None:
    driven = Driven(permitted=3, failure_ratio=1.0)
    driven.half_open().ok()
    driven.succeed()
    assert driven.state == "half_open"

    driven.succeed()

    assert driven.state == "closed"


@pytest.mark.parametrize(("slow_ratio", "needed"), [(0.4, 2), (0.8, 4), (1.0, 5)])
def test_slow_probes_open_it_again(slow_ratio: float, needed: int) -> None:
    driven = Driven(permitted=5, slow_ratio=slow_ratio)
    driven.half_open().ok(slow=True)
    driven.succeed(needed - 2, slow=True)
    assert driven.state == "half_open"

    driven.succeed(slow=True)

    assert driven.state == "open"


def test_a_failed_probe_that_was_slow_counts_as_both() -> None:
    driven = Driven(permitted=3, failure_ratio=1.0, slow_ratio=0.6)
    driven.half_open().ok()
    driven.fail(slow=True)
    assert driven.state == "half_open"

    driven.fail(slow=True)

    assert driven.state == "open"


@pytest.mark.parametrize("settle", ["neutral", "cancel"])
def test_a_neutral_or_cancelled_probe_gives_its_place_back(settle: str) -> None:
    driven = Driven(permitted=1)
    permit = driven.half_open()
    for _ in range(20):
        getattr(permit, settle)()
        assert driven.state == "half_open"
        permit = driven.admit()

    permit.ok()
    assert driven.state == "closed"


def test_a_neutral_probe_that_was_slow_decides_nothing() -> None:
    driven = Driven(permitted=1)
    driven.half_open().neutral(slow=True)

    assert driven.state == "half_open"
    assert driven.breaker.ready


def test_a_silent_probe_reopens_it_after_a_while() -> None:
    driven = Driven(permitted=3, verdict_within_s=60.0)
    lost = driven.half_open()
    driven.clock.advance(59.9)
    assert driven.state == "half_open"
    driven.clock.advance(0.1)

    assert driven.state == "open"
    assert driven.breaker.open_for_s == pytest.approx(20.0)
    lost.ok()
    assert driven.state == "open", "its verdict comes too late"


def test_a_probe_whose_stream_flows_passes_when_its_verdict_takes_long() -> None:
    driven = Driven(permitted=1, verdict_within_s=60.0)
    streaming = driven.half_open()
    streaming.opened = True
    driven.clock.advance(60.0)

    assert driven.state == "closed"
    streaming.fail()
    assert driven.breaker.totals.recorded == 0, "its verdict is in already"


def test_a_flowing_probe_counts_once_among_several() -> None:
    driven = Driven(permitted=3, concurrent=2, verdict_within_s=60.0)
    streaming = driven.half_open()
    streaming.opened = True
    driven.clock.advance(30.0)
    silent = driven.admit()
    driven.clock.advance(30.0)
    assert driven.state == "half_open"

    streaming.fail()
    assert driven.state == "half_open", "judged already"
    silent.ok()
    driven.succeed()

    assert driven.state == "closed"


def test_a_pause_named_by_a_probe_is_kept() -> None:
    driven = Driven(permitted=1)
    driven.half_open().fail(retry_after_s=120.0)

    assert driven.breaker.open_for_s == pytest.approx(120.0)


def test_a_result_of_the_closed_state_is_no_probe() -> None:
    driven = Driven(permitted=1)
    late = driven.admit()
    probe = driven.half_open()

    late.ok()
    assert driven.state == "half_open"
    probe.fail()
    assert driven.state == "open"


def test_a_result_of_an_earlier_half_open_state_is_no_probe_of_this_one() -> None:
    driven = Driven(permitted=2, concurrent=2, failure_ratio=0.5)
    first, second = driven.half_open(), driven.admit()
    driven.clock.advance(60.0)
    assert driven.state == "open"
    driven.wait_out()
    driven.admit()

    first.ok()
    second.ok()

    assert driven.state == "half_open"


# --- through the layers


def target(
    config: BreakerConfig, heard: Recorder | None = None
) -> tuple[Breaker, Pipeline]:
    breaker = Breaker("a", config, LoopClock(), listener=heard, uniform=middle)
    admit = BreakerAdmit(breaker, classify, lambda attempt: False)
    layers = [BreakerPeek(breaker), Bulkhead("a", limit=500), admit]
    return breaker, Pipeline(layers, classify=classify)


async def trip(breaker: Breaker) -> None:
    for _ in range(5):
        breaker.admit().fail()
    await asyncio.sleep(breaker.open_for_s)


async def closing(pipeline: Pipeline, operation: ScriptedOperation) -> str:
    call = make_call(target="a")
    answer: str = await pipeline.execute(operation, call)
    await call.close()
    return answer


@pytest.mark.parametrize(("permitted", "concurrent"), [(3, 1), (3, 2), (1, 1), (5, 5)])
async def test_of_200_calls_at_once_exactly_the_permitted_are_sent(
    permitted: int, concurrent: int
) -> None:
    config = BreakerConfig(permitted=permitted, concurrent=concurrent)
    breaker, pipeline = target(config)
    await trip(breaker)
    at_once, most, sent = 0, 0, 0
    # As many as leave the verdict open until the last: so all of them are sent.
    answers = ["answer"] * (permitted // 2)

    async def probe(call: Call) -> str:
        nonlocal at_once, most, sent
        sent += 1
        at_once += 1
        most = max(most, at_once)
        try:
            await asyncio.sleep(1.0)
        finally:
            at_once -= 1
        if answers:
            answers.pop()
            return "answer"
        raise ProviderError

    async def keeps_asking() -> None:
        while breaker.state != "open" or breaker.ready:
            try:
                await closing(pipeline, probe)
            except BreakerOpen:
                await asyncio.sleep(0.1)
            except ProviderError:
                return

    await asyncio.gather(*(keeps_asking() for _ in range(200)))

    assert (sent, most) == (permitted, concurrent)
    assert breaker.state == "open"


async def test_of_200_calls_in_one_moment_one_is_sent_and_the_rest_are_refused() -> (
    None
):
    heard = Recorder()
    breaker, pipeline = target(BreakerConfig(), heard)
    await trip(breaker)
    operation = ScriptedOperation(1.0, "answer")

    results = await asyncio.gather(
        *(closing(pipeline, operation) for _ in range(200)), return_exceptions=True
    )

    assert results.count("answer") == 1
    assert sum(isinstance(one, BreakerOpen) for one in results) == 199
    assert len(operation.sends) == 1


@pytest.mark.parametrize("how", ["cancelled", "neutral"])
async def test_a_probe_without_a_verdict_leaves_room_for_the_next(how: str) -> None:
    breaker, pipeline = target(BreakerConfig(permitted=1))
    await trip(breaker)
    if how == "cancelled":
        probe = asyncio.create_task(closing(pipeline, ScriptedOperation(1e9)))
        await asyncio.sleep(1.0)
        assert not breaker.ready
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
    else:
        with pytest.raises(ProviderError):
            await closing(pipeline, ScriptedOperation(ProviderError(AUTH_FAILED)))

    assert breaker.state == "half_open"
    assert await closing(pipeline, ScriptedOperation("answer")) == "answer"
    assert breaker.state == "closed"


async def test_refusals_of_both_layers_are_told() -> None:
    heard = Recorder()
    breaker, _ = target(BreakerConfig())
    admit = BreakerAdmit(breaker, classify, lambda attempt: False)
    operation = ScriptedOperation("answer")
    for _ in range(5):
        breaker.admit().fail()

    for layer in (BreakerPeek(breaker), admit):
        with pytest.raises(BreakerOpen):
            await layer.execute(operation, make_call(heard))

    assert heard.events == [BreakerRejected("a", "open")] * 2
    assert operation.sends == []
