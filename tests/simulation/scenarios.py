"""The runs: what befalls whom. Each is made once, however many tests read it.

The first provider of the main route has the fault, from 20 s to 80 s. A second route
leads to the second provider alone: its callers must not notice anything. At 50 replicas
each sees 1.5 requests a second, so that a run takes seconds; what one replica does
does not depend on how many requests the others have.
"""

from dataclasses import replace
from functools import cache

from tests.simulation.diary import Diary
from tests.simulation.providers import Fault, Model
from tests.simulation.world import Setup, Surge, run

MAIN = ("a", "b", "c")
BYSTANDER = ("b",)
FROM_S, TO_S, END_S = 20.0, 80.0, 140.0
RATES_PER_S = {1: 24.0, 3: 36.0, 50: 75.0}

FAULTS = {
    "outage": Fault(FROM_S, TO_S, down=True),
    "black hole": Fault(FROM_S, TO_S, silent=True),
    "brown-out": Fault(FROM_S, TO_S, errors=0.3),
    "slow": Fault(FROM_S, TO_S, slower=10.0),
    "flapping": Fault(FROM_S, TO_S, down=True, flaps_s=5.0),
    "throttled": Fault(FROM_S, TO_S, allowed_per_s=10.0, retry_after_s=2.0),
}

STORM = ("a", "b")
STORM_FROM_S, STORM_TO_S, STORM_END_S = 20.0, 50.0, 100.0


def setup(fault: str, replicas: int, **other: object) -> Setup:
    """One provider with a fault, two that are well."""
    models = (Model("a", faults=(FAULTS[fault],)), Model("b"), Model("c"))
    made = Setup(
        models,
        routes=((MAIN, 0.75), (BYSTANDER, 0.25)),
        replicas=replicas,
        rate_per_s=RATES_PER_S[replicas],
        lasts_s=END_S,
    )
    return replace(made, **other)


def storm_setup(replicas: int, *, protected: bool = True) -> Setup:
    """Three times the load for half a minute, on providers with room for 1.6 times.

    Whoever is not answered asks again at once, up to three times; and what a provider
    has taken in it works off, even if nobody waits for it any more.
    """
    small = {"places": 16, "queue": 10_000}
    return Setup(
        (Model("a", **small), Model("b", **small)),
        routes=((STORM, 1.0),),
        replicas=replicas,
        rate_per_s=24.0,
        lasts_s=STORM_END_S,
        surge=Surge(STORM_FROM_S, STORM_TO_S, times=3.0),
        client_tries=3,
        protected=protected,
    )


@cache
def lived(fault: str, replicas: int, **other: object) -> Diary:
    return run(setup(fault, replicas, **other))


@cache
def storm(replicas: int, *, protected: bool = True) -> Diary:
    return run(storm_setup(replicas, protected=protected))
