"""An adaptive limit on a manual clock, fed with attempts in words."""

from collections.abc import Callable

from resilience.adaptive import AdaptiveLimit
from resilience.call import Attempt, AttemptKind
from resilience.testing import ManualClock
from tests.resilience.scenery import ProviderError, classify, throttled


class Fed:
    """A limit whose target's attempts are told one by one."""

    def __init__(self, **settings: int) -> None:
        self.clock = ManualClock()
        self.adaptive = AdaptiveLimit(self.clock, classify=classify, **settings)

    @property
    def limit(self) -> int:
        return self.adaptive.limit

    def begun(self, *, whole: bool = False) -> Attempt:
        """An attempt that starts a moment from now, and ends when it is told."""
        self.clock.advance(0.001)
        attempt = Attempt("a", 1, AttemptKind.PRIMARY, self.clock.now())
        attempt.whole = whole
        return attempt

    def opened(self, after_s: float = 1.0, in_flight: int | None = None) -> None:
        attempt = self.begun()
        self.clock.advance(after_s)
        attempt.first_token_at_s = self.clock.now()
        self._tell_opened(attempt, in_flight)

    def answered_whole(self, in_flight: int | None = None) -> None:
        self._tell_opened(self.begun(whole=True), in_flight)

    def failed(
        self, error: BaseException, after_s: float = 1.0, in_flight: int | None = None
    ) -> None:
        self.fails(self.begun(), error, after_s, in_flight)

    def fails(
        self,
        attempt: Attempt,
        error: BaseException,
        after_s: float = 1.0,
        in_flight: int | None = None,
    ) -> None:
        self.clock.advance(after_s)
        attempt.ended_at_s = self.clock.now()
        self.adaptive.record_failed(attempt, error, in_flight or self.limit)

    def knows(self, usual_s: float) -> None:
        """Let it learn what is usual while there is little to do."""
        for _ in range(50):
            self.opened(usual_s, in_flight=1)

    def round(self, tell: Callable[[], None] | None = None) -> None:
        """As many openings, at a full limit, as there are in a round."""
        self.clock.advance(100.0)  # what opens right after a cut does not count
        for _ in range(max(20, self.limit)):
            (tell or self.opened)()

    def _tell_opened(self, attempt: Attempt, in_flight: int | None) -> None:
        self.adaptive.record_opened(attempt, in_flight or self.limit)


def cut(times: int, ceiling: int) -> Fed:
    """A limit that has been cut."""
    fed = Fed(ceiling=ceiling)
    for _ in range(times):
        fed.failed(ProviderError(throttled()), after_s=0.01)
    return fed
