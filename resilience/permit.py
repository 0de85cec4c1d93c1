"""Leave to make one attempt, given by a circuit breaker.

Rule: a permit is settled exactly once, when the attempt's answer or stream has
ended; a permit whose breaker state is gone by then settles without effect. What a
settlement does to the breaker is `breaker.py`'s business.
"""

from collections.abc import Callable
from typing import Any

from resilience.outcome import Counts

type Settle = Callable[["Permit", Counts, bool, float | None], None]


class Permit:
    """One admitted attempt.

    `state` is the breaker state that issued it; `opened` is to be set once content
    flows: then a verdict may take its time.
    """

    __slots__ = ("_settle", "issued_at_s", "opened", "state")

    def __init__(self, state: Any, issued_at_s: float, settle: Settle) -> None:
        self.state = state
        self.issued_at_s = issued_at_s
        self.opened = False
        self._settle: Settle | None = settle

    def ok(self, *, slow: bool = False) -> None:
        """The attempt succeeded."""
        self._once(Counts.SUCCESS, slow, None)

    def fail(self, *, slow: bool = False, retry_after_s: float | None = None) -> None:
        """The attempt failed by the target's fault; it may have named a pause."""
        self._once(Counts.FAILURE, slow, retry_after_s)

    def neutral(self, *, slow: bool = False) -> None:
        """The attempt says nothing about the target, or only that it was slow."""
        self._once(Counts.NEUTRAL, slow, None)

    def cancel(self) -> None:
        """The attempt was not made after all."""
        self._once(Counts.NEUTRAL, False, None)

    def _once(self, counts: Counts, slow: bool, retry_after_s: float | None) -> None:
        settle, self._settle = self._settle, None
        if settle is None:
            raise RuntimeError("a permit is settled exactly once")
        settle(self, counts, slow, retry_after_s)
