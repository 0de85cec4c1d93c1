"""The adaptive throttle: diverts a share of the calls from a target that ails."""

import pytest

from resilience.breaker import Breaker, BreakerConfig
from resilience.call import Call
from resilience.errors import AdmissionRefused, BreakerOpen
from resilience.events import AdmissionRejected
from resilience.outcome import Counts
from resilience.pipeline import Pipeline
from resilience.testing import ManualClock, ScriptedOperation
from resilience.throttle import AdaptiveThrottle
from tests.resilience.scenery import (
    OVERLOADED,
    REFUSED,
    UNAVAILABLE,
    ProviderError,
    Recorder,
    classify,
    make_call,
    middle,
    throttled,
)


class Throttled:
    """A throttle as the only layer of a target, with a draw that is chosen."""

    def __init__(self, draw: float = 0.0, breaker: Breaker | None = None) -> None:
        self.clock = ManualClock()
        self.heard = Recorder()
        self.draw = draw
        self.sends = 0
        self.throttle = AdaptiveThrottle(
            "a",
            self.clock,
            classify,
            breaker=breaker,
            uniform=lambda low, high: self.draw,
        )
        self._pipeline = Pipeline([self.throttle], classify=classify)

    @property
    def probability(self) -> float:
        return self.throttle.probability

    async def send(self, step: object = "answer", *, alternative: bool = False) -> None:
        """Send one attempt and close it; its own errors are no concern here."""
        call = make_call(self.heard, target="a")
        call.alternative_ready = lambda: alternative
        operation = ScriptedOperation(step)
        try:
            await self._pipeline.execute(operation, call)
        except ProviderError:
            pass
        finally:
            self.sends += len(operation.sends)
            await call.close()

    async def has_seen(self, ok: int, failed: int) -> None:
        for _ in range(ok):
            await self.send()
        for _ in range(failed):
            await self.send(ProviderError())


@pytest.mark.parametrize(
    ("ok", "failed", "probability"),
    [
        (100, 0, 0.0),
        (90, 10, 0.0),
        (81, 19, (100 - 81 / 0.9) / 101),
        (45, 55, (100 - 45 / 0.9) / 101),
        (18, 82, (100 - 18 / 0.9) / 101),
        (0, 100, 0.8),
    ],
)
async def test_the_probability_follows_the_share_of_answers(
    ok: int, failed: int, probability: float
) -> None:
    place = Throttled()

    await place.has_seen(ok, failed)

    assert place.probability == pytest.approx(probability)


async def test_a_few_calls_say_nothing_yet() -> None:
    place = Throttled()

    await place.has_seen(0, 9)
    assert place.probability == 0.0

    await place.has_seen(0, 1)
    assert place.probability == 0.8


async def test_what_is_older_than_the_window_is_forgotten() -> None:
    place = Throttled()
    await place.has_seen(0, 20)

    place.clock.advance(29.0)
    assert place.probability == 0.8
    place.clock.advance(2.0)
    assert place.probability == 0.0


@pytest.mark.parametrize(
    "verdict", [UNAVAILABLE, OVERLOADED, throttled()], ids=lambda v: v.reason
)
async def test_failures_and_throttled_answers_count(verdict: object) -> None:
    place = Throttled()

    for _ in range(20):
        await place.send(ProviderError(verdict))

    assert place.probability == 0.8


async def test_what_says_nothing_about_the_target_does_not_count() -> None:
    place = Throttled()
    await place.has_seen(20, 0)

    for _ in range(200):
        await place.send(ProviderError(REFUSED))

    assert place.probability == 0.0


async def test_a_stream_counts_by_how_it_ends() -> None:
    place = Throttled()

    async def opens(call: Call) -> str:
        return "opened"

    calls = [make_call() for _ in range(20)]
    for call in calls:
        await place.throttle.execute(opens, call)
    assert place.probability == 0.0

    for call in calls:
        await call.close(ProviderError(UNAVAILABLE))
    assert place.probability == 0.8


async def test_a_drawn_call_is_refused_without_being_sent_and_told_of() -> None:
    place = Throttled(draw=0.79)
    await place.has_seen(0, 20)
    sent_before = place.sends

    with pytest.raises(AdmissionRefused) as caught:
        await place.send(alternative=True)

    assert place.sends == sent_before
    assert caught.value.target == "a"
    assert place.heard.of(AdmissionRejected) == [AdmissionRejected("a", 0.8)]
    refused = classify(caught.value)
    assert (refused.counts, refused.reason) == (Counts.NEUTRAL, "admission_refused")


async def test_a_call_that_is_not_drawn_is_sent() -> None:
    place = Throttled(draw=0.81)
    await place.has_seen(0, 20)

    await place.send(alternative=True)

    assert place.sends == 21


async def test_while_nobody_else_could_answer_everybody_is_let_through() -> None:
    place = Throttled(draw=0.0)
    await place.has_seen(0, 20)

    await place.send(alternative=False)

    assert place.sends == 21


async def test_a_healthy_target_is_never_refused_whatever_is_drawn() -> None:
    place = Throttled(draw=0.0)
    await place.has_seen(20, 0)

    await place.send(alternative=True)

    assert place.sends == 21


async def test_refused_calls_do_not_drive_the_probability_to_its_cap() -> None:
    place = Throttled(draw=0.0)
    await place.has_seen(85, 15)
    before = place.probability

    for _ in range(1000):
        with pytest.raises(AdmissionRefused):
            await place.send(alternative=True)

    assert place.probability == before == pytest.approx(0.0550, abs=1e-3)


class TestWithABreaker:
    """The breaker has the last word."""

    def open_breaker(self, clock: ManualClock) -> Breaker:
        return Breaker("a", BreakerConfig(), clock, uniform=middle)

    async def test_probes_pass_and_what_was_counted_before_is_forgotten(self) -> None:
        clock = ManualClock()
        breaker = self.open_breaker(clock)
        place = Throttled(draw=0.0, breaker=breaker)
        place.clock = clock
        await place.has_seen(0, 20)
        assert place.probability == 0.8
        for _ in range(5):
            breaker.admit().fail()
        assert breaker.state == "open"

        await place.send(alternative=True)

        assert place.sends == 21, "this layer lets it through; the breaker decides"
        assert place.probability == 0.0

    async def test_a_half_open_breaker_gets_its_probe(self) -> None:
        clock = ManualClock()
        breaker = self.open_breaker(clock)
        place = Throttled(draw=0.0, breaker=breaker)
        await place.has_seen(0, 20)
        for _ in range(5):
            breaker.admit().fail()
        clock.advance(breaker.open_for_s)
        permit = breaker.admit()
        assert breaker.state == "half_open"

        await place.send(alternative=True)

        assert place.sends == 21
        permit.cancel()

    async def test_a_breaker_that_refuses_inside_is_not_counted(self) -> None:
        clock = ManualClock()
        place = Throttled(breaker=self.open_breaker(clock))

        for _ in range(20):
            with pytest.raises(BreakerOpen):
                await place.send(BreakerOpen("a"))

        assert place.probability == 0.0

    async def test_while_it_is_closed_the_throttle_acts(self) -> None:
        place = Throttled(draw=0.0, breaker=self.open_breaker(ManualClock()))
        await place.has_seen(0, 20)

        with pytest.raises(AdmissionRefused):
            await place.send(alternative=True)
