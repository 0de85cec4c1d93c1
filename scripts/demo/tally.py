"""Counts what became of the requests: per second, per phase, and at the kill.

The rule it keeps: every request is in exactly one of answered, broken by the kill, or
failed. A broken stream that the kill does not explain is a failure. No I/O here.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from statistics import quantiles

from scripts.demo.answers import Ending, Verdict


class Phase(IntEnum):
    """The acts of the demo, in order."""

    WELL = 0
    KILLED = 1
    BACK = 2


@dataclass(frozen=True, slots=True)
class Result:
    """One request that has ended. Times are seconds since the first request."""

    stream: bool
    sent_at_s: float
    ended_at_s: float
    verdict: Verdict
    provider: str | None = None
    attempts: int = 0

    @property
    def latency_ms(self) -> float:
        """From the request to the end of its answer."""
        return (self.ended_at_s - self.sent_at_s) * 1000


@dataclass(frozen=True, slots=True)
class Second:
    """What ended within one second."""

    answered: int
    failed: int
    broken: int
    providers: Counter[str]
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class AtTheKill:
    """What was under way when the first provider was killed."""

    in_flight: int
    delivering: int
    saved: int


@dataclass(slots=True)
class Tally:
    """The results of a run, and the moments of its events (None: not seen).

    Moments are seconds since the first request.
    """

    victim: str
    results: list[Result] = field(default_factory=list)
    killed_at_s: float | None = None
    breaker_open_at_s: float | None = None
    back_at_s: float | None = None

    @property
    def answered(self) -> int:
        """Requests whose answer came whole."""
        return sum(one.verdict.ending is Ending.ANSWERED for one in self.results)

    @property
    def broken(self) -> int:
        """Streams that the kill broke while they were being delivered."""
        return sum(self._broken_by_kill(one) for one in self.results)

    @property
    def failures(self) -> list[Result]:
        """Requests that the chain could have saved, and did not."""
        return [one for one in self.results if self.is_failure(one)]

    def is_failure(self, one: Result) -> bool:
        """Say whether a request is neither answered nor broken by the kill."""
        answered = one.verdict.ending is Ending.ANSWERED
        return not answered and not self._broken_by_kill(one)

    def _broken_by_kill(self, one: Result) -> bool:
        return one.verdict.ending is Ending.BROKEN and self._was_delivering(one)

    def _was_caught(self, one: Result) -> bool:
        """Say whether a request was in flight at the kill."""
        at_s = self.killed_at_s
        return at_s is not None and one.sent_at_s <= at_s <= one.ended_at_s

    def _was_delivering(self, one: Result) -> bool:
        """Say whether the victim was killed in the midst of this stream.

        A stream is the victim's once its first token is through, and the dead send
        no first token: so it had begun before the kill.
        """
        return one.stream and one.provider == self.victim and self._was_caught(one)

    def second(self, results: Sequence[Result]) -> Second:
        """Sum up what ended within one second."""
        answered = [one for one in results if one.verdict.ending is Ending.ANSWERED]
        failed = sum(self.is_failure(one) for one in results)
        p50_ms, p95_ms = _percentiles([one.latency_ms for one in answered])
        return Second(
            len(answered),
            failed,
            len(results) - len(answered) - failed,
            Counter(one.provider for one in answered if one.provider),
            p50_ms,
            p95_ms,
        )

    def phase_of(self, one: Result) -> Phase:
        """Return the phase in which a request ended."""
        if self.back_at_s is not None and one.ended_at_s >= self.back_at_s:
            return Phase.BACK
        if self.killed_at_s is not None and one.ended_at_s >= self.killed_at_s:
            return Phase.KILLED
        return Phase.WELL

    def answered_by(self, phase: Phase) -> Counter[str]:
        """Count the answers of a phase by who gave them."""
        return Counter(
            one.provider
            for one in self.results
            if one.verdict.ending is Ending.ANSWERED
            and one.provider
            and self.phase_of(one) is phase
        )

    def at_the_kill(self) -> AtTheKill:
        """Sum up what was in flight at the kill, and what became of it."""
        caught = [one for one in self.results if self._was_caught(one)]
        saved = [
            one
            for one in caught
            if one.verdict.ending is Ending.ANSWERED and one.provider != self.victim
        ]
        delivering = sum(self._was_delivering(one) for one in caught)
        return AtTheKill(len(caught), delivering, len(saved))

    def attempts(self) -> Counter[int]:
        """Count the answered requests by how many attempts each took."""
        return Counter(
            one.attempts
            for one in self.results
            if one.verdict.ending is Ending.ANSWERED
        )

    def breaker_took_s(self) -> float | None:
        """Return the time from the kill until the breaker was seen open."""
        if self.killed_at_s is None or self.breaker_open_at_s is None:
            return None
        return self.breaker_open_at_s - self.killed_at_s

    def is_by_returned_victim(self, one: Result) -> bool:
        """Say whether the victim answered this after its return."""
        return (
            one.provider == self.victim
            and one.verdict.ending is Ending.ANSWERED
            and self.back_at_s is not None
            and one.sent_at_s >= self.back_at_s
        )

    def used_again_after_s(self) -> float | None:
        """Return the time from the victim's return to the end of its first answer."""
        if self.back_at_s is None:
            return None
        ends_s = [
            one.ended_at_s for one in self.results if self.is_by_returned_victim(one)
        ]
        return min(ends_s) - self.back_at_s if ends_s else None


def _percentiles(latencies_ms: list[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile; zeros if there is nothing."""
    if len(latencies_ms) < 2:
        only_ms = latencies_ms[0] if latencies_ms else 0.0
        return only_ms, only_ms
    cuts = quantiles(latencies_ms, n=20, method="inclusive")
    return cuts[9], cuts[18]
