"""The library's public names: growth shows here, in review."""

import resilience


def test_the_public_surface_is_small_and_pinned() -> None:
    assert sorted(resilience.__all__) == [
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


def test_every_public_name_is_there_and_explains_itself() -> None:
    for name in resilience.__all__:
        assert getattr(resilience, name).__doc__, name
