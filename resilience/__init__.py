"""Resilience for any async operation: breaker, bulkhead, retry, timeouts, chains.

It imports the standard library, tenacity and aiobreaker, and nothing else; it does no
I/O, and knows neither HTTP nor language models beyond the words *token* and *target*.

The names below are what a program needs to compose a chain; errors are in
`resilience.errors`, events in `resilience.events`, doubles in `resilience.testing`.
"""

from resilience.admission import BreakerAdmit, BreakerPeek
from resilience.backoff import Backoff
from resilience.breaker import Breaker, BreakerConfig, BreakerState
from resilience.budget import RetryBudget
from resilience.bulkhead import Bulkhead
from resilience.call import Call
from resilience.chain import Chain, Target
from resilience.clock import SystemClock
from resilience.cooldown import CooldownGate
from resilience.deadline import Deadline
from resilience.outcome import Verdict, classify
from resilience.pipeline import Pipeline
from resilience.retry import Retry
from resilience.timeout import Limits, Timeouts

__all__ = [
    "Backoff",
    "Breaker",
    "BreakerAdmit",
    "BreakerConfig",
    "BreakerPeek",
    "BreakerState",
    "Bulkhead",
    "Call",
    "Chain",
    "CooldownGate",
    "Deadline",
    "Limits",
    "Pipeline",
    "Retry",
    "RetryBudget",
    "SystemClock",
    "Target",
    "Timeouts",
    "Verdict",
    "classify",
]
