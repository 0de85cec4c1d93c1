"""What a circuit breaker can be doing, by the names that events and metrics use.

Rule: names only; who changes from one to another is `machine.py`.
"""

from enum import StrEnum


class BreakerState(StrEnum):
    """What a breaker does now; the last three are an operator's orders."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"
