"""How often and how long a route may try, at the worst.

Rule: arithmetic over settings; an upper bound, never an estimate. It mirrors what
`resilience` does: a target is asked up to three times (twice while another could
answer), every attempt may queue first, and the deadline ends everything.
"""

from dataclasses import dataclass

from app.config.models import Config, Route
from app.config.policies import Policy

_SENDS_PER_TARGET = 3


@dataclass(frozen=True, slots=True)
class WorstCase:
    """The upper bounds of one route; times are in seconds from the request's arrival.

    `attempts` sends in all; `first_token_s` until the first content or an error;
    `answer_s` until the end of the answer; `never_asked` the targets that the deadline
    keeps from being asked when all before them stay silent, where their order is known.
    """

    attempts: int
    first_token_s: float
    answer_s: float
    never_asked: tuple[str, ...]


def worst_case(config: Config, route: Route) -> WorstCase:
    """Return the bounds of `route`. A pause that a provider names is not counted."""
    whole = config.policies[route.policy]
    waits_s: list[float] = []
    silent_s = 0.0
    never_asked: list[str] = []
    for target in route.targets:
        policy = config.policy_of(route, target)
        if route.strategy == "failover" and silent_s >= whole.deadline_s:
            never_asked.append(target.name)
        silent_s += policy.timeouts.first_token_s
        waits_s += _attempts_s(policy)
    attempts = min(whole.max_attempts, len(waits_s))
    longest_s = sum(sorted(waits_s, reverse=True)[:attempts])
    return WorstCase(
        attempts=attempts,
        first_token_s=min(whole.deadline_s, longest_s),
        answer_s=whole.deadline_s,
        never_asked=tuple(never_asked),
    )


def _attempts_s(policy: Policy) -> list[float]:
    """Return how long each attempt at a target may take, with what comes before it."""
    retry, bulkhead = policy.retry, policy.bulkhead
    queued_s = bulkhead.wait_s if bulkhead.queue else 0.0
    base_s = max(retry.base_s, retry.throttle_base_s)
    pauses_s = [min(retry.cap_s, base_s * 2.0**n) for n in range(_SENDS_PER_TARGET - 1)]
    return [
        queued_s + policy.timeouts.first_token_s + pause_s
        for pause_s in (0.0, *pauses_s)
    ]
