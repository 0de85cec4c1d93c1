"""Whether an attempt was slow: by its first token and its rate, never by its length.

Rule: total duration scales with what was asked for, and so says nothing about the
target. An attempt that ended before its first token was slow if that was overdue.
"""

from dataclasses import dataclass

from resilience.call import Attempt


@dataclass(frozen=True, slots=True)
class SlownessRule:
    """Thresholds in seconds; `per_token_s` is None when rates do not matter."""

    first_token_s: float
    per_token_s: float | None = None

    def __call__(self, attempt: Attempt) -> bool:
        """Return whether `attempt`, settled or not, counts as slow."""
        if attempt.whole:
            return False
        first_s = attempt.first_token_s
        if first_s is None:
            first_s = attempt.duration_s or 0.0
        if first_s > self.first_token_s:
            return True
        per_s = attempt.per_token_s
        return (
            self.per_token_s is not None
            and per_s is not None
            and (per_s > self.per_token_s)
        )
