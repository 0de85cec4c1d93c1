"""A breaker on a manual clock, driven in words."""

from collections.abc import Callable

from resilience.breaker import Breaker, BreakerConfig
from resilience.errors import BreakerOpen
from resilience.events import Event
from resilience.permit import Permit
from resilience.testing import ManualClock
from tests.resilience.scenery import Recorder, middle


class Driven:
    """A breaker, its clock, and who listens to it."""

    def __init__(self, *, uniform=middle, **config: object) -> None:
        self.clock = ManualClock()
        self.heard = Recorder()
        self.also: Callable[[Event], None] | None = None
        """Called with each event, after it has been recorded."""
        self.config = BreakerConfig(**config)
        self.breaker = Breaker(
            "a", self.config, self.clock, listener=self, uniform=uniform
        )

    def on_event(self, event: Event) -> None:
        self.heard.on_event(event)
        if self.also is not None:
            self.also(event)

    @property
    def state(self) -> str:
        return str(self.breaker.state)

    def admit(self) -> Permit:
        return self.breaker.admit()

    def refused(self) -> BreakerOpen:
        """Ask for a permit; return the refusal."""
        try:
            permit = self.breaker.admit()
        except BreakerOpen as refusal:
            return refusal
        raise AssertionError(f"admitted: {permit}")

    def fail(self, times: int = 1, *, slow: bool = False) -> None:
        for _ in range(times):
            self.admit().fail(slow=slow)

    def succeed(self, times: int = 1, *, slow: bool = False) -> None:
        for _ in range(times):
            self.admit().ok(slow=slow)

    def trip(self) -> None:
        self.fail(self.config.consecutive)
        assert self.state == "open"

    def half_open(self) -> Permit:
        """Trip, wait, and return the first probe's permit."""
        self.trip()
        self.wait_out()
        return self.admit()

    def wait_out(self) -> None:
        self.clock.advance(self.breaker.open_for_s)

    @property
    def changes(self) -> list[tuple[str, str]]:
        return [(str(e.from_state), str(e.to_state)) for e in self.heard.events]
