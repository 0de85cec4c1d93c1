"""Three times the load for half a minute, from clients that ask again when it fails.

Overload that outlives its cause is a metastable failure (Bronson et al., HotOS 2021):
what keeps it alive is work that nobody waits for any more, and attempts that repeat
it. With the layers it ends with the storm; without them it never does.
"""

import pytest

from tests.simulation.scenarios import (
    STORM,
    STORM_END_S,
    STORM_FROM_S,
    STORM_TO_S,
    storm,
)
from tests.simulation.world import BUDGET_RATIO

WELL_AGAIN_WITHIN_S = 30.0
FLEETS = [1, 3, 50]


@pytest.mark.parametrize("replicas", FLEETS)
def test_goodput_is_back_soon_after_the_storm_and_stays(replicas: int) -> None:
    diary = storm(replicas)
    assert diary.worst_success(STORM, 0.0, STORM_FROM_S) == 1.0

    since_s = STORM_TO_S + WELL_AGAIN_WITHIN_S
    assert diary.worst_success(STORM, since_s, STORM_END_S) >= 0.95
    assert diary.success(STORM, STORM_END_S - 10.0, STORM_END_S) == 1.0


@pytest.mark.parametrize("replicas", FLEETS)
def test_a_part_of_the_clients_is_served_all_the_time(replicas: int) -> None:
    assert storm(replicas).success(STORM, STORM_FROM_S, STORM_TO_S) >= 0.3


@pytest.mark.parametrize("replicas", FLEETS)
def test_the_layers_send_no_more_than_they_were_asked_for(replicas: int) -> None:
    diary = storm(replicas)
    for provider in STORM:
        sent = diary.sent(provider, STORM_FROM_S, STORM_TO_S)
        assert len(sent) <= (1 + BUDGET_RATIO) * len({one.call for one in sent})


def test_without_the_layers_the_storm_never_ends() -> None:
    diary = storm(3, protected=False)
    assert diary.worst_success(STORM, 0.0, STORM_FROM_S) == 1.0

    assert diary.success(STORM, STORM_END_S - 30.0, STORM_END_S) <= 0.05
    asked = len(diary.asked(STORM, STORM_END_S - 30.0, STORM_END_S))
    sent = diary.sent("a", STORM_END_S - 30.0, STORM_END_S)
    assert len(sent) >= 2 * asked, "clients keep it alive"
