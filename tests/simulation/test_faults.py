"""One of three providers has a fault for a minute; 1, 3 and 50 replicas get through it.

The asserts are those of the design: who asks a healthy provider notices nothing, who
has a chain is answered, the provider with the fault is left alone, probed sparingly,
and in use again soon; and when it is over nothing of it is left.
"""

import pytest

from resilience.breaker import BreakerConfig
from tests.simulation.diary import Diary, most_at_once
from tests.simulation.scenarios import (
    BYSTANDER,
    END_S,
    FAULTS,
    FROM_S,
    MAIN,
    TO_S,
    lived,
    setup,
)
from tests.simulation.world import BUDGET_RATIO, FLEET_FLOOR_PER_S, run

FLEETS = [1, 3, 50]
EVERY_RUN = [(fault, n) for fault in FAULTS for n in (1, 3)] + [
    ("outage", 50),
    ("brown-out", 50),
]
RESERVE_S = 10.0
"""How many seconds of the budget's floor may be spent at once."""
HEARD_WITHIN_S = 1.0
"""How long it takes until every replica has heard of a transition."""
CONFIG = BreakerConfig()

# Seconds from the beginning of the fault until no breaker is closed any more. What
# fails at once is seen at once; what is silent or slow when its limit of 3 s is over.
CONTAINED_WITHIN_S = {"outage": 2.0, "flapping": 2.0, "black hole": 6.0, "slow": 6.0}

# From the end of the fault until every breaker is closed: at most as long again as the
# fault has lasted, because the open time doubles.
RECOVERED_WITHIN_S = TO_S - FROM_S

every_run = pytest.mark.parametrize(("fault", "replicas"), EVERY_RUN)


def offered(diary: Diary, from_s: float, to_s: float) -> int:
    return len(diary.asked(MAIN, from_s, to_s))


def allowed(calls: int, lasted_s: float) -> float:
    """How many sends the budget allows for so many calls."""
    floor = FLEET_FLOOR_PER_S * (lasted_s + RESERVE_S)
    return calls * (1 + BUDGET_RATIO) + floor


@every_run
def test_whoever_has_a_chain_is_answered(fault: str, replicas: int) -> None:
    diary = lived(fault, replicas)

    assert diary.success(MAIN, FROM_S, TO_S) >= 0.99
    assert diary.worst_success(MAIN, 0.0, END_S) >= 0.99


@every_run
def test_callers_of_a_healthy_provider_notice_nothing(
    fault: str, replicas: int
) -> None:
    diary = lived(fault, replicas)

    assert diary.success(BYSTANDER, 0.0, END_S) == 1.0
    for quantile, tolerance in ((0.5, 0.1), (0.95, 0.2)):
        before_s = diary.latency_s(BYSTANDER, 0.0, FROM_S, quantile)
        during_s = diary.latency_s(BYSTANDER, FROM_S, TO_S, quantile)
        assert during_s == pytest.approx(before_s, rel=tolerance)
    assert not diary.changes["b"] and not diary.changes["c"], "their breakers are quiet"


@every_run
def test_no_provider_gets_more_than_the_calls_and_the_budget(
    fault: str, replicas: int
) -> None:
    diary = lived(fault, replicas)

    for provider in "abc":
        sent = diary.sent(provider, FROM_S, TO_S)
        calls = {one.call for one in sent}
        assert len(sent) <= allowed(len(calls), TO_S - FROM_S)
    at_fault = diary.sent("a", FROM_S, TO_S)
    assert len(at_fault) <= (1 + BUDGET_RATIO) * offered(diary, FROM_S, TO_S)


@pytest.mark.parametrize("replicas", FLEETS)
@pytest.mark.parametrize("fault", CONTAINED_WITHIN_S)
def test_a_provider_that_is_out_is_left_alone_by_everybody(
    fault: str, replicas: int
) -> None:
    if (fault, replicas) not in EVERY_RUN:
        return
    contained_s = lived(fault, replicas).contained_s("a", FROM_S)

    assert contained_s is not None
    assert contained_s - FROM_S <= CONTAINED_WITHIN_S[fault]


@pytest.mark.parametrize("replicas", FLEETS)
@pytest.mark.parametrize("fault", ["outage", "black hole"])
def test_the_fleet_probes_no_more_than_it_may(fault: str, replicas: int) -> None:
    if (fault, replicas) not in EVERY_RUN:
        return
    diary = lived(fault, replicas)
    contained_s = diary.contained_s("a", FROM_S)
    assert contained_s is not None
    first_closed_s = diary.reopened_to_some_s("a", contained_s)
    assert first_closed_s is not None
    rounds = diary.bursts(
        "a", contained_s + HEARD_WITHIN_S, first_closed_s, CONFIG.open_s / 2
    )

    assert 2 <= len(rounds) <= 4
    for probes in rounds:
        assert len(probes) <= CONFIG.permitted
        assert most_at_once(probes) <= CONFIG.concurrent
    assert [len(probes) for probes in rounds[:-1]] == [1] * (len(rounds) - 1)
    assert len(rounds[-1]) == CONFIG.permitted, "the first was answered"


@every_run
def test_it_is_in_use_again_soon_after_it_is_well(fault: str, replicas: int) -> None:
    diary = lived(fault, replicas)
    recovered_s = diary.recovered_s("a", TO_S)

    assert recovered_s is not None
    assert recovered_s - TO_S <= RECOVERED_WITHIN_S


@every_run
def test_nothing_is_left_when_it_is_over(fault: str, replicas: int) -> None:
    diary = lived(fault, replicas)
    recovered_s = diary.recovered_s("a", TO_S)
    assert recovered_s is not None
    settled_s = recovered_s + CONFIG.ramp_s

    assert diary.worst_success(MAIN, TO_S, END_S) >= 0.99
    assert settled_s <= END_S - 10.0
    assert all(one.at_s <= settled_s for one in diary.changes["a"])
    calls = len(diary.asked(MAIN, settled_s, END_S))
    assert len(diary.sent("a", settled_s, END_S)) >= 0.98 * calls


def test_throttling_trips_no_breaker() -> None:
    for replicas in (1, 3):
        assert not lived("throttled", replicas).changes["a"]


# --- the medium


def test_without_the_medium_every_breaker_does_it_alone() -> None:
    alone, shared = lived("outage", 3, medium_down=(0.0, 1e6)), lived("outage", 3)

    assert alone.sharing == []
    assert alone.success(MAIN, FROM_S, TO_S) >= 0.99
    contained_s = alone.contained_s("a", FROM_S)
    recovered_s = alone.recovered_s("a", TO_S)
    assert contained_s is not None and contained_s - FROM_S <= 2.0
    assert recovered_s is not None and recovered_s - TO_S <= RECOVERED_WITHIN_S
    more = len(alone.sent("a", FROM_S, TO_S)) - len(shared.sent("a", FROM_S, TO_S))
    assert more > 0, "each probes for itself"


def test_a_medium_that_is_lost_in_the_middle_is_said_to_be_and_found_again() -> None:
    diary = lived("outage", 3, medium_down=(40.0, 60.0))

    lost = [at_s for at_s, shared in diary.sharing if not shared]
    found = [at_s for at_s, shared in diary.sharing if shared and at_s > 40.0]
    assert len(lost) == len(found) == 3 * 3
    assert all(40.0 <= at_s <= 43.0 for at_s in lost)
    assert all(60.0 <= at_s <= 61.0 for at_s in found)
    assert diary.success(MAIN, FROM_S, TO_S) >= 0.99
    recovered_s = diary.recovered_s("a", TO_S)
    assert recovered_s is not None and recovered_s - TO_S <= RECOVERED_WITHIN_S


def test_a_slow_medium_that_loses_messages_is_good_enough() -> None:
    diary = lived("outage", 3, medium_delay_s=0.1, medium_loss=0.2)
    contained_s = diary.contained_s("a", FROM_S)
    recovered_s = diary.recovered_s("a", TO_S)

    assert diary.worst_success(MAIN, 0.0, END_S) >= 0.99
    assert contained_s is not None and contained_s - FROM_S <= 3.0
    assert recovered_s is not None and recovered_s - TO_S <= RECOVERED_WITHIN_S


# --- the proof that this can fail


def test_without_breaker_and_budget_the_same_outage_is_hammered() -> None:
    diary = lived("outage", 3, protected=False)
    sent = diary.sent("a", FROM_S, TO_S)
    calls = len({one.call for one in sent})

    assert len(sent) > allowed(calls, TO_S - FROM_S)
    assert len(sent) > (1 + BUDGET_RATIO) * offered(diary, FROM_S, TO_S)


def test_a_run_can_be_repeated_to_the_last_digit() -> None:
    assert run(setup("outage", 1)) == lived("outage", 1)
