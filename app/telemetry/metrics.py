"""Recording into every metric, and the exposition at /metrics.

Rule: one `Metrics` per application, with a registry of its own, never the library's
global one. Recording is a look-up in a cache and one increment; label values outside
their closed set become `other`. What is named how stands in `families.py`.
"""

import asyncio
import platform
import time
from collections.abc import Iterable, Sequence

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from app.domain import Usage
from app.telemetry.families import Families
from app.telemetry.labels import (
    NONE,
    OTHER,
    PHASES,
    HedgeResult,
    Outcome,
    TargetName,
    error_codes,
    error_reasons,
)
from app.telemetry.targets import TargetCollector, TargetState
from resilience.breaker import BreakerState
from resilience.call import Attempt, AttemptKind
from resilience.outcome import Counts

_SENT_KINDS = (AttemptKind.PRIMARY, AttemptKind.RETRY, AttemptKind.FALLBACK)
_BOOLS = ("false", "true")
_UNKNOWN_TARGET = TargetName(OTHER, OTHER, OTHER)


class Metrics:
    """The metrics of one application.

    Args:
        routes, targets, projects, store_ops, rate_limit_scopes: the closed sets of
            label values, from the configuration.
        registry: where to register; a new one if None.
    """

    def __init__(
        self,
        *,
        routes: Iterable[str] = (),
        targets: Iterable[TargetName] = (),
        projects: Iterable[str] = (),
        store_ops: Iterable[str] = (),
        rate_limit_scopes: Iterable[str] = ("requests",),
        registry: CollectorRegistry | None = None,
    ) -> None:
        # A time per series that nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # ships no types
        self.registry = registry or CollectorRegistry()
        self._families = Families(self.registry)
        self._live = TargetCollector()
        self.registry.register(self._live)
        ProcessCollector(registry=self.registry)
        self._routes = frozenset(routes)
        self._targets = {target.name: target for target in targets}
        self._projects = frozenset(projects)
        self._store_ops = frozenset(store_ops)
        self._scopes = frozenset(rate_limit_scopes)
        self._codes = error_codes()
        self._reasons = error_reasons()
        for route in {*self._routes, OTHER}:
            self._create_route(route)
        for target in self._targets.values():
            self._create_target(target)
        self._create_rest()

    # --- what is there before anything happened, so that ratios are never "no data"

    def _create_route(self, route: str) -> None:
        families = self._families
        families.overhead[(route,)]
        families.in_flight[(route,)]
        for outcome in Outcome:
            for flag in _BOOLS:
                families.requests[(route, outcome, flag)]
                families.request_duration[(route, flag, outcome)]

    def _create_target(self, target: TargetName) -> None:
        families, provider = self._families, target.provider
        labels = (provider, target.model)
        for kind in _SENT_KINDS:
            families.attempts[(*labels, kind, Counts.SUCCESS, NONE)]
            families.attempts[(*labels, kind, Counts.FAILURE, "unavailable")]
        for counts in Counts:
            families.attempt_duration[(*labels, counts)]
        for state in BreakerState:
            families.breaker_transitions[(*labels, state)]
        families.first_token[labels]
        families.per_token[labels]
        families.last_success[labels]
        families.not_permitted[labels]
        families.bulkhead_rejected[labels]
        families.bulkhead_wait[labels]
        for phase in PHASES:
            families.timeouts[(provider, phase)]
        for result in HedgeResult:
            families.hedges[(provider, result)]
        families.retries[(provider, "unavailable")]
        families.budget_exhausted[(provider, "unavailable")]
        families.streams_broken[(provider, "stream_broken")]
        for project in self._projects:
            families.input_tokens[(*labels, project)]
            families.output_tokens[(*labels, project)]
            families.cost[(*labels, project)]
            families.cost_unknown[(*labels, project)]

    def _create_rest(self) -> None:
        families = self._families
        for code in self._codes:
            families.errors[(code,)]
        for op in self._store_ops:
            families.store_errors[(op,)]
            families.store_latency[(op,)]
        for scope in self._scopes:
            for project in self._projects:
                families.rate_limited[(scope, project)]

    # --- closed sets

    def target(self, name: str) -> TargetName:
        """Return the target that `resilience` calls `name`."""
        return self._targets.get(name, _UNKNOWN_TARGET)

    def route(self, route: str) -> str:
        """Return `route` if it is configured, else `other`."""
        return route if route in self._routes else OTHER

    def _project(self, project: str) -> str:
        return project if project in self._projects else OTHER

    def _reason(self, reason: str) -> str:
        return reason if reason in self._reasons else OTHER

    # --- calls

    def record_call_started(self, route: str) -> None:
        """Count a call in."""
        self._families.in_flight[(self.route(route),)].inc()

    def record_call_ended(self, route: str) -> None:
        """Count a call out."""
        self._families.in_flight[(self.route(route),)].dec()

    def record_request(
        self,
        route: str,
        outcome: Outcome,
        *,
        fallback: bool,
        stream: bool,
        duration_s: float,
        overhead_s: float | None = None,
        trace_id: str | None = None,
    ) -> None:
        """Record a call that ended.

        `trace_id` is given for sampled traces only, and becomes an exemplar.
        """
        families, route = self._families, self.route(route)
        families.requests[(route, outcome, _BOOLS[fallback])].inc()
        families.request_duration[(route, _BOOLS[stream], outcome)].observe(
            duration_s, {"trace_id": trace_id} if trace_id else None
        )
        if overhead_s is not None:
            families.overhead[(route,)].observe(overhead_s)

    def record_error(self, code: str) -> None:
        """Record an error that a client was answered with."""
        self._families.errors[(code if code in self._codes else OTHER,)].inc()

    def record_usage(
        self,
        target: str,
        project: str,
        usage: Usage,
        cost_usd: float | None,
    ) -> None:
        """Record tokens and cost of an answer; `cost_usd` is None without a price."""
        families, named = self._families, self.target(target)
        labels = (named.provider, named.model, self._project(project))
        families.input_tokens[labels].inc(max(0, usage.input_tokens))
        families.output_tokens[labels].inc(max(0, usage.output_tokens))
        if usage.cached_tokens > 0:
            families.cache_read_tokens[labels].inc(usage.cached_tokens)
        if usage.reasoning_tokens > 0:
            families.reasoning_tokens[labels].inc(usage.reasoning_tokens)
        if cost_usd is None:
            families.cost_unknown[labels].inc()
        else:
            families.cost[labels].inc(max(0.0, cost_usd))

    # --- attempts, and what resilience does about them

    def record_attempt(self, attempt: Attempt, counts: Counts, reason: str) -> None:
        """Record an attempt that ended; `reason` is `none` for a success."""
        families, named = self._families, self.target(attempt.target)
        labels = (named.provider, named.model)
        if reason != NONE:
            reason = self._reason(reason)
        families.attempts[(*labels, attempt.kind, counts, reason)].inc()
        duration_s = attempt.duration_s
        if duration_s is not None:
            families.attempt_duration[(*labels, counts)].observe(duration_s)
        if attempt.first_token_s is not None:
            families.first_token[labels].observe(attempt.first_token_s)
        if counts is Counts.SUCCESS:
            families.last_success[labels].set(time.time())
            per_token_s = attempt.per_token_s
            if per_token_s is not None:
                families.per_token[labels].observe(per_token_s)

    def record_stream_broken(self, target: str, reason: str) -> None:
        """Record an attempt that failed after its first token."""
        labels = (self.target(target).provider, self._reason(reason))
        self._families.streams_broken[labels].inc()

    def record_timeout(self, target: str, phase: str) -> None:
        """Record an exceeded limit; the call's deadline is none of the target's."""
        if phase in PHASES:
            self._families.timeouts[(self.target(target).provider, phase)].inc()

    def record_retry(self, target: str, reason: str) -> None:
        """Record a retry on the same target."""
        labels = (self.target(target).provider, self._reason(reason))
        self._families.retries[labels].inc()

    def record_budget_exhausted(self, target: str, reason: str) -> None:
        """Record a retry that was not made."""
        labels = (self.target(target).provider, self._reason(reason))
        self._families.budget_exhausted[labels].inc()

    def record_fallback(
        self, route: str, from_target: str, to_target: str, reason: str
    ) -> None:
        """Record a chain's step to another target."""
        before, after = self.target(from_target), self.target(to_target)
        self._families.fallbacks[
            (self.route(route), before.provider, after.provider, self._reason(reason))
        ].inc()

    def record_hedge(self, hedge_target: str, result: HedgeResult) -> None:
        """Record how a hedge onto `hedge_target` ended."""
        self._families.hedges[(self.target(hedge_target).provider, result)].inc()

    def record_breaker_changed(self, target: str, to_state: str) -> None:
        """Record a breaker's change of state."""
        named = self.target(target)
        self._families.breaker_transitions[
            (named.provider, named.model, to_state)
        ].inc()

    def record_not_permitted(self, target: str) -> None:
        """Record an attempt that a breaker did not admit."""
        named = self.target(target)
        self._families.not_permitted[(named.provider, named.model)].inc()

    def record_bulkhead_rejected(self, target: str) -> None:
        """Record an attempt that got no slot."""
        named = self.target(target)
        self._families.bulkhead_rejected[(named.provider, named.model)].inc()

    def record_bulkhead_wait(self, target: str, waited_s: float) -> None:
        """Record how long a slot was waited for."""
        named = self.target(target)
        self._families.bulkhead_wait[(named.provider, named.model)].observe(waited_s)

    # --- limits, store, runtime

    def record_rate_limited(self, scope: str, project: str) -> None:
        """Record a call over a rate limit; `scope` is what is limited."""
        scope = scope if scope in self._scopes else OTHER
        self._families.rate_limited[(scope, self._project(project))].inc()

    def record_store_state(self, *, up: bool, degraded: bool) -> None:
        """Record whether the store answers, and whether limits are kept without it."""
        self._families.store_up.family.set(up)
        self._families.store_degraded.family.set(degraded)

    def record_store_operation(self, op: str, latency_s: float, failed: bool) -> None:
        """Record one store operation."""
        op = op if op in self._store_ops else OTHER
        self._families.store_latency[(op,)].observe(latency_s)
        if failed:
            self._families.store_errors[(op,)].inc()

    def record_loop_lag(self, lag_s: float) -> None:
        """Record how late the event loop was."""
        self._families.loop_lag.family.observe(lag_s)

    def record_dropped(self, spans: int) -> None:
        """Record spans that will never arrive; callable in any thread."""
        self._families.telemetry_dropped.family.inc(spans)

    def record_config_loaded(self, *, reload: bool = False, ok: bool = True) -> None:
        """Record that a configuration was loaded, or that a reload failed."""
        if reload:
            self._families.config_reloads.family.inc()
        if ok:
            self._families.config_loaded_at.family.set(time.time())

    def record_build(self, version: str) -> None:
        """Record what is running."""
        self._families.build_info[(version, platform.python_version())].set(1)

    # --- exposition

    def track_targets(self, states: Sequence[TargetState]) -> None:
        """Read these targets at every scrape.

        Raises:
            ValueError: two of them have the same provider and model.
        """
        self._live.track(states)

    def bind_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Name the loop in whose thread the tracked targets live."""
        self._live.bind(loop)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return the exposition and its content type; callable in any thread."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type
