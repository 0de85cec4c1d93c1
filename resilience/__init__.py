"""Resilience for any async operation: breaker, bulkhead, retry, timeouts, chains.

It imports the standard library, tenacity and aiobreaker, and nothing else; it does no
I/O, and knows neither HTTP nor language models beyond the words *token* and *target*.

Most programs need `Guard` and `GuardedChain`, which have every layer in its place; the
other names are what is needed to compose a chain by hand. Errors are in
`resilience.errors`, events in `resilience.events`, doubles in `resilience.testing`.
"""

from resilience.adaptive import AdaptiveLimit
from resilience.admission import BreakerAdmit, BreakerPeek
from resilience.backoff import Backoff
from resilience.breaker import Breaker, BreakerConfig, BreakerState
from resilience.budget import RetryBudget
from resilience.bulkhead import Bulkhead
from resilience.call import Call
from resilience.chain import Chain, Target
from resilience.choice import Failover, LeastLatency, Weighted
from resilience.clock import SystemClock
from resilience.cooldown import CooldownGate
from resilience.deadline import Deadline, current_deadline
from resilience.ejection import Ejection
from resilience.guard import Guard, GuardedChain
from resilience.health import Health
from resilience.hedge import Hedge
from resilience.latency import TargetLatency
from resilience.outcome import Condition, Verdict, classify
from resilience.pipeline import Pipeline
from resilience.probing import Prober
from resilience.retry import Retry
from resilience.shedding import Priority, PriorityGate
from resilience.slowness import SlownessRule
from resilience.throttle import AdaptiveThrottle
from resilience.timeout import Limits, Timeouts
from resilience.trace import DecisionTrace

__all__ = [
    "AdaptiveLimit",
    "AdaptiveThrottle",
    "Backoff",
    "Breaker",
    "BreakerAdmit",
    "BreakerConfig",
    "BreakerPeek",
    "BreakerState",
    "Bulkhead",
    "Call",
    "Chain",
    "Condition",
    "CooldownGate",
    "Deadline",
    "DecisionTrace",
    "Ejection",
    "Failover",
    "Guard",
    "GuardedChain",
    "Health",
    "Hedge",
    "LeastLatency",
    "Limits",
    "Pipeline",
    "Priority",
    "PriorityGate",
    "Prober",
    "Retry",
    "RetryBudget",
    "SlownessRule",
    "SystemClock",
    "Target",
    "TargetLatency",
    "Timeouts",
    "Verdict",
    "Weighted",
    "classify",
    "current_deadline",
]
