"""Builds the routes: targets, their guards and layers, and the chains over them.

Rule: wiring only; nothing here runs per request, starts or stops anything. What
belongs to a target is made once, however many routes use it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from app import config as configuration
from app.config import Config
from app.errors import classify
from app.gateway.routing import Guards, Route, UpstreamTarget
from app.providers.openai import OpenAIProvider
from app.providers.protocol import Provider
from resilience.adaptive import AdaptiveLimit
from resilience.admission import BreakerAdmit, BreakerPeek
from resilience.breaker import Breaker
from resilience.budget import RetryBudget
from resilience.bulkhead import Bulkhead
from resilience.chain import Chain, Target
from resilience.choice import Failover, LeastLatency, Strategy, Weighted
from resilience.clock import Clock
from resilience.cooldown import CooldownGate
from resilience.ejection import Ejection
from resilience.events import Listener, Listeners
from resilience.health import Health
from resilience.hedge import Hedge
from resilience.latency import TargetLatency
from resilience.outcome import Condition
from resilience.pipeline import Pipeline
from resilience.policy import Policy
from resilience.retry import Retry
from resilience.slowness import SlownessRule
from resilience.timeout import Timeouts

_DIALECTS: Mapping[str, Provider] = {"openai": OpenAIProvider()}

_ADAPTIVE_FLOOR = 4


@dataclass(frozen=True, slots=True)
class _LiveTarget:
    """What the metrics read of one target at every scrape."""

    provider: str
    model: str
    breaker: Breaker | None
    bulkhead: Bulkhead
    health: Health
    budget: RetryBudget


class Targets:
    """Builds each target's guards once, however many routes use it.

    Guards belong to a `provider/model`, the retry budget to a provider: their state is
    about the provider, not about who asks.
    """

    def __init__(self, clock: Clock, listener: Listener) -> None:
        self._clock = clock
        self._listener = listener
        self._guards: dict[str, Guards] = {}
        self._budgets: dict[str, RetryBudget] = {}
        self.live: list[_LiveTarget] = []

    def guards(
        self, target: configuration.Target, policy: configuration.Policy
    ) -> Guards:
        """Return the guards of `target`, by the first policy that named it."""
        known = self._guards.get(target.name)
        if known is not None:
            return known
        clock, name = self._clock, target.name
        health = self._health(name, policy)
        breaker = None
        if policy.breaker.enabled:
            breaker = Breaker(
                name,
                policy.breaker.config(),
                clock,
                listener=Listeners((health, self._listener)),
            )
        guards = Guards(
            breaker,
            self._bulkhead(name, policy.bulkhead),
            CooldownGate(name, clock, classify, base_s=policy.retry.throttle_base_s),
            self._budget(target.provider, policy.retry),
            health,
        )
        self._guards[name] = guards
        self.live.append(
            _LiveTarget(
                target.provider,
                target.model,
                breaker,
                guards.bulkhead,
                health,
                guards.budget,
            )
        )
        return guards

    def _health(self, name: str, policy: configuration.Policy) -> Health:
        return Health(
            self._clock,
            name,
            slow=_slowness(policy),
            latency=TargetLatency(self._clock, tail=policy.hedge.quantile),
            listener=self._listener,
        )

    def _bulkhead(self, name: str, bulkhead: configuration.Bulkhead) -> Bulkhead:
        adaptive = None
        if bulkhead.adaptive:
            adaptive = AdaptiveLimit(
                self._clock,
                ceiling=bulkhead.limit,
                floor=min(_ADAPTIVE_FLOOR, bulkhead.limit),
                classify=classify,
            )
        return Bulkhead(
            name,
            limit=bulkhead.limit,
            queue=bulkhead.queue,
            wait_s=bulkhead.wait_s,
            adaptive=adaptive,
            clock=self._clock,
            listener=self._listener,
        )

    def _budget(self, provider: str, retry: configuration.Retry) -> RetryBudget:
        return self._budgets.setdefault(
            provider,
            RetryBudget(
                self._clock,
                ratio=retry.budget_ratio,
                floor_per_s=retry.budget_min_per_s,
            ),
        )


def build_route(
    name: str,
    route: configuration.Route,
    config: Config,
    targets: Targets,
    clock: Clock,
) -> Route:
    """Return the route `name`, with guards from `targets`."""
    chained: list[Target] = []
    upstream: dict[str, UpstreamTarget] = {}
    for target in route.targets:
        policy = config.policy_of(route, target)
        guards = targets.guards(target, policy)
        chained.append(
            Target(
                target.name,
                _pipeline(policy, guards, clock),
                guards,
                target.context_window,
                target.weight,
                guards.health,
                guards.budget,
            )
        )
        upstream[target.name] = _upstream(target, policy, guards, config)
    own = config.policies[route.policy]
    return Route(
        name=name,
        chain=Chain(
            chained,
            classify,
            strategy=_strategy(route, clock),
            hedge=_hedge(own.hedge, clock),
            goes_past=_goes_past(route),
        ),
        targets=upstream,
        policy=route.policy,
        deadline_s=own.deadline_s,
        max_attempts=own.max_attempts,
        skip_malformed=route.on_malformed_chunk == "skip",
        stream_upstream=route.upstream_stream == "auto",
    )


def reveal(secret: SecretStr | None) -> str | None:
    """Return what `secret` hides."""
    return None if secret is None else secret.get_secret_value()


def _pipeline(policy: configuration.Policy, guards: Guards, clock: Clock) -> Pipeline:
    """Return the layers of one target, outermost first."""
    slow = _slowness(policy)
    layers: list[Policy] = [
        Retry(
            clock,
            policy.retry.backoff(),
            guards.budget,
            classify,
            wait_up_to_s=policy.retry.wait_up_to_s,
        ),
        guards.cooldown,
    ]
    if guards.breaker is not None:
        layers.append(BreakerPeek(guards.breaker))
    layers.append(guards.bulkhead)
    if guards.breaker is not None:
        layers.append(BreakerAdmit(guards.breaker, classify, slow))
    layers.append(guards.budget)
    layers.append(Timeouts(policy.timeouts.limits()))
    return Pipeline(layers, classify=classify, is_slow=slow, health=guards.health)


def _slowness(policy: configuration.Policy) -> SlownessRule:
    return SlownessRule(
        policy.breaker.slow_first_token_s, policy.breaker.slow_per_token_s
    )


def _upstream(
    target: configuration.Target,
    policy: configuration.Policy,
    guards: Guards,
    config: Config,
) -> UpstreamTarget:
    provider = config.providers[target.provider]
    return UpstreamTarget(
        name=target.name,
        provider=target.provider,
        model=target.model,
        dialect=_DIALECTS[provider.dialect],
        base_url=provider.base_url,
        api_key=reveal(provider.api_key),
        limits=policy.timeouts.limits(),
        guards=guards,
    )


def _strategy(route: configuration.Route, clock: Clock) -> Strategy:
    """Return the order of one route; equals are ejected for that route alone."""
    match route.strategy:
        case "failover":
            return Failover()
        case "weighted":
            return Weighted(Ejection(clock))
        case "least_latency":
            return LeastLatency(Ejection(clock))


def _hedge(hedge: configuration.Hedge, clock: Clock) -> Hedge | None:
    if not hedge.enabled:
        return None
    return Hedge(clock, classify, budget_ratio=hedge.budget_ratio)


def _goes_past(route: configuration.Route) -> frozenset[Condition]:
    """Return after which refusals of one target another may be asked."""
    if route.on_content_filter == "fallback":
        return frozenset({Condition.LARGER_CONTEXT, Condition.ANOTHER_FILTER})
    return frozenset({Condition.LARGER_CONTEXT})
