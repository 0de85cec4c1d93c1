"""Targets that are only looked at: their health is set, and nobody asks them."""

from resilience.budget import RetryBudget
from resilience.clock import Clock
from resilience.errors import BreakerOpen, Refused
from resilience.health import Health
from resilience.outcome import Counts
from resilience.pipeline import Pipeline
from resilience.target import Target


class Stand:
    """A target with a switch, and its health."""

    def __init__(self, name: str, clock: Clock, weight: float = 1.0) -> None:
        self.refuses = False
        self.health = Health(clock, name)
        self.target = Target(
            name,
            Pipeline([]),
            self,
            weight=weight,
            health=self.health,
            budget=RetryBudget(clock),
        )

    def refusal(self) -> Refused | None:
        return BreakerOpen(self.target.name) if self.refuses else None

    def fail(self, times: int = 60) -> None:
        for _ in range(times):
            self.health.record(Counts.FAILURE)

    def answer(self, times: int = 100) -> None:
        for _ in range(times):
            self.health.record(Counts.SUCCESS)


def stands(names: str, clock: Clock) -> dict[str, Stand]:
    return {name: Stand(name, clock) for name in names}


def targets(route: dict[str, Stand]) -> list[Target]:
    return [stand.target for stand in route.values()]
