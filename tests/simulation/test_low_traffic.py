"""A request every four seconds: an outage must be noticed, and its end too.

There are few attempts to learn from, and each that is wasted is somebody's request.
"""

import pytest

from tests.simulation.diary import Diary
from tests.simulation.providers import Fault, Model
from tests.simulation.world import Setup, run

ROUTE = ("a", "b")
EVERY_S = 4.0
DOWN_FROM_S = 40.0
DOWN_TO_S = 100.0
JUST_BEFORE_S = 0.001
"""The outage begins a little before a request, so that it meets fifteen of them."""


def outage(seed: int, *, phase_s: float = JUST_BEFORE_S) -> Diary:
    """Ten requests, an outage of 60 s, and what comes after it."""
    fault = Fault(DOWN_FROM_S - phase_s, DOWN_TO_S - phase_s, down=True)
    return run(
        Setup(
            (Model("a", faults=(fault,)), Model("b")),
            routes=((ROUTE, 1.0),),
            replicas=1,
            seed=seed,
            every_s=EVERY_S,
            lasts_s=DOWN_TO_S + 40.0,
        )
    )


@pytest.mark.parametrize("seed", range(16))
def test_an_outage_of_a_minute_costs_few_attempts_and_ends_soon(seed: int) -> None:
    diary = outage(seed)
    during = diary.sent("a", DOWN_FROM_S - JUST_BEFORE_S, DOWN_TO_S - JUST_BEFORE_S)
    after = diary.sent("a", DOWN_TO_S - JUST_BEFORE_S, 1e9)

    assert len(during) == 5, "three to see it, two to see that it lasts"
    assert after[0].at_s <= DOWN_TO_S + 30.0, "the primary is in use again"
    assert len(diary.requests[ROUTE]) >= 20
    assert all(one.answered for one in diary.requests[ROUTE])


@pytest.mark.parametrize("phase_s", [0.5, 1.5, 2.5, 3.5])
def test_it_hardly_matters_when_between_two_requests_it_began(phase_s: float) -> None:
    for seed in range(4):
        diary = outage(seed, phase_s=phase_s)
        ended_s = DOWN_TO_S - phase_s
        after = diary.sent("a", ended_s, 1e9)

        assert len(diary.sent("a", DOWN_FROM_S - phase_s, ended_s)) <= 6
        # Its open time is 40 s ± 20 % by now: that is what may come on top.
        assert after[0].at_s - ended_s <= 30.0 + EVERY_S
