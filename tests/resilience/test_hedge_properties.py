"""Whatever targets do, and whenever a call ends, a hedged chain keeps its promises."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from resilience.events import HedgeStarted
from resilience.outcome import Verdict
from resilience.testing import ScriptedOperation, run_virtually
from tests.resilience.racing import Track
from tests.resilience.scenery import (
    AUTH_FAILED,
    OVERLOADED,
    REFUSED,
    UNAVAILABLE,
    Place,
    ProviderError,
    throttled,
)

NAMES = "abc"

delays_s = st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.21, 0.25, 0.5, 1.0])
verdicts = st.sampled_from(
    [UNAVAILABLE, OVERLOADED, AUTH_FAILED, REFUSED, throttled(), throttled(0.5)]
)
steps = st.lists(st.tuples(delays_s, st.none() | verdicts), min_size=1, max_size=3)
slots = st.sampled_from([0, 1])


def script(steps: list[tuple[float, Verdict | None]], name: str) -> ScriptedOperation:
    """Each step a silence, and then an answer or an error."""
    told: list[object] = []
    for delay_s, verdict in steps:
        told += [delay_s, f"from {name}" if verdict is None else ProviderError(verdict)]
    return ScriptedOperation(*told)


async def scene(
    scripts: list[list[tuple[float, Verdict | None]]],
    free: list[int],
    max_attempts: int,
    paid: int,
    cancel_at_s: float | None,
) -> None:
    places = [
        Place(name, slots=slots, queue=1)
        for name, slots in zip(NAMES, free, strict=True)
    ]
    track = Track(
        NAMES,
        places=places,
        paid=paid,
        max_attempts=max_attempts,
        deadline_s=5.0,
        **{name: script(does, name) for name, does in zip(NAMES, scripts, strict=True)},
    )
    running = asyncio.create_task(track.run())
    await asyncio.wait((running,), timeout=cancel_at_s)
    running.cancel()
    await asyncio.wait((running,))
    call = track.call

    if not running.cancelled() and running.exception() is None:
        assert running.result() == f"from {call.target}"
        assert call.attempt is call.attempts[call.attempt.number - 1]
        assert call.attempt.target == call.target
        await call.close()
    asked = [one.target for one in call.attempts if one.kind != "retry"]
    assert len(asked) == len(set(asked)), "nobody is asked twice"
    assert len(call.attempts) == len(track.sends) <= max_attempts
    assert all(one.ended_at_s is not None for one in call.attempts)
    started = track.heard.of(HedgeStarted)
    assert len(track.hedges()) == 2 * len(started), "each has one outcome"
    assert len(started) <= paid + 1, "the call itself earns one by its first attempt"
    track.assert_nothing_is_left()


@given(
    scripts=st.lists(steps, min_size=3, max_size=3),
    free=st.lists(slots, min_size=3, max_size=3),
    max_attempts=st.integers(1, 5),
    paid=st.integers(0, 2),
    cancel_at_s=st.none() | st.sampled_from([0.0, 0.1, 0.2, 0.22, 0.3, 0.7, 1.3]),
)
def test_attempts_leases_and_outcomes_add_up(
    scripts: list[list[tuple[float, Verdict | None]]],
    free: list[int],
    max_attempts: int,
    paid: int,
    cancel_at_s: float | None,
) -> None:
    run_virtually(scene(scripts, free, max_attempts, paid, cancel_at_s))
