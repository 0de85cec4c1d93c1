"""Every metric that the gateway keeps: its name, its labels, its buckets.

Rule: the only place where a metric is named (gauges that are read from live objects
are named in `targets.py`). Recording is `metrics.py`'s business.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX = "llm_gateway"

DURATION_BUCKETS_S = (
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0),
    *(60.0, 120.0, 300.0, 600.0),
)
FIRST_TOKEN_BUCKETS_S = (
    *(0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 30.0, 60.0, 120.0),
)
PER_TOKEN_BUCKETS_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)
OVERHEAD_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
WAIT_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STORE_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Series[M: (Counter, Gauge, Histogram)](dict[tuple[str, ...], M]):
    """The children of one family by their label values: one look-up when cached.

    A child is made the first time it is asked for, so the asker keeps to closed sets.
    """

    def __init__(self, family: M) -> None:
        super().__init__()
        self.family: M = family

    def __missing__(self, labels: tuple[str, ...]) -> M:
        child: M = self.family.labels(*labels)
        self[labels] = child
        return child


class Families:
    """The metrics of one application, registered in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._define_requests()
        self._define_attempts()
        self._define_tokens()
        self._define_resilience()
        self._define_bulkhead_and_quota()
        self._define_runtime()

    def _counter(self, name: str, told: str, *labels: str) -> Series[Counter]:
        return Series(
            Counter(name, told, labels, namespace=PREFIX, registry=self._registry)
        )

    def _gauge(self, name: str, told: str, *labels: str) -> Series[Gauge]:
        return Series(
            Gauge(name, told, labels, namespace=PREFIX, registry=self._registry)
        )

    def _histogram(
        self, name: str, told: str, buckets: tuple[float, ...], *labels: str
    ) -> Series[Histogram]:
        return Series(
            Histogram(
                name,
                told,
                labels,
                namespace=PREFIX,
                registry=self._registry,
                buckets=buckets,
            )
        )

    def _define_requests(self) -> None:
        self.requests = self._counter(
            "requests_total",
            "Calls that ended, by how they ended for the client.",
            *("route", "outcome", "fallback"),
        )
        self.request_duration = self._histogram(
            "request_duration_seconds",
            "From the start of a call to the end of its answer or stream.",
            DURATION_BUCKETS_S,
            *("route", "stream", "outcome"),
        )
        self.overhead = self._histogram(
            "overhead_seconds",
            "Call duration less the time in which an attempt was under way.",
            OVERHEAD_BUCKETS_S,
            "route",
        )
        self.in_flight = self._gauge(
            "requests_in_flight", "Calls that have not ended.", "route"
        )
        self.errors = self._counter(
            "errors_total", "Errors answered to clients, by code.", "code"
        )

    def _define_attempts(self) -> None:
        self.attempts = self._counter(
            "attempts_total",
            "Upstream sends that ended, by why they were made and how they count.",
            *("provider", "model", "kind", "outcome", "error_type"),
        )
        self.attempt_duration = self._histogram(
            "attempt_duration_seconds",
            "From the send of an attempt to the end of its answer or stream.",
            DURATION_BUCKETS_S,
            *("provider", "model", "outcome"),
        )
        self.first_token = self._histogram(
            "time_to_first_token_seconds",
            "From the send of an attempt to its first meaningful content.",
            FIRST_TOKEN_BUCKETS_S,
            *("provider", "model"),
        )
        self.per_token = self._histogram(
            "time_per_output_token_seconds",
            "Mean time per token after the first, once per answered attempt.",
            PER_TOKEN_BUCKETS_S,
            *("provider", "model"),
        )
        self.last_success = self._gauge(
            "provider_last_success_timestamp_seconds",
            "Unix time of the last attempt that succeeded; 0 before the first.",
            *("provider", "model"),
        )

    def _define_tokens(self) -> None:
        def counter(name: str, told: str) -> Series[Counter]:
            return self._counter(name, told, "provider", "model", "project")

        self.input_tokens = counter(
            "input_tokens_total", "Tokens in, as the provider counted them."
        )
        self.output_tokens = counter(
            "output_tokens_total", "Tokens out, as the provider counted them."
        )
        self.cache_read_tokens = counter(
            "cache_read_tokens_total", "Input tokens read from the provider's cache."
        )
        self.reasoning_tokens = counter(
            "reasoning_tokens_total", "Output tokens spent on reasoning."
        )
        self.cost = counter("cost_usd_total", "Cost in US dollars, from the prices.")
        self.cost_unknown = counter(
            "cost_unknown_total", "Answers whose cost is unknown: no price is set."
        )

    def _define_resilience(self) -> None:
        self.breaker_transitions = self._counter(
            "circuit_breaker_transitions_total",
            "Changes of a circuit breaker's state, by the new state.",
            *("provider", "model", "to"),
        )
        self.not_permitted = self._counter(
            "circuit_breaker_not_permitted_total",
            "Attempts that a circuit breaker did not admit.",
            *("provider", "model"),
        )
        self.retries = self._counter(
            "retries_total",
            "Retries on the same target, by the failure before.",
            *("provider", "reason"),
        )
        self.budget_exhausted = self._counter(
            "retry_budget_exhausted_total",
            "Retries not made because the budget was empty.",
            *("provider", "reason"),
        )
        self.fallbacks = self._counter(
            "fallbacks_total",
            "Steps of a chain from one target to another, by why the first failed.",
            *("route", "from_provider", "to_provider", "reason"),
        )
        self.hedges = self._counter(
            "hedges_total",
            "Second attempts made because the first was late, by how they ended.",
            *("provider", "result"),
        )
        self.timeouts = self._counter(
            "timeouts_total",
            "Attempts that exceeded a limit, by phase.",
            *("provider", "phase"),
        )
        self.streams_broken = self._counter(
            "streams_broken_total",
            "Attempts that failed after their first token.",
            *("provider", "reason"),
        )

    def _define_bulkhead_and_quota(self) -> None:
        self.bulkhead_rejected = self._counter(
            "bulkhead_rejected_total",
            "Attempts that got no slot.",
            *("provider", "model"),
        )
        self.bulkhead_wait = self._histogram(
            "bulkhead_wait_seconds",
            "How long attempts that had to wait for a slot waited for it.",
            WAIT_BUCKETS_S,
            *("provider", "model"),
        )
        self.rate_limited = self._counter(
            "rate_limited_total",
            "Calls over a rate limit, by what is limited.",
            *("scope", "project"),
        )

    def _define_runtime(self) -> None:
        self.store_up = self._gauge(
            "store_up", "Whether the store answers (1) or not (0)."
        )
        self.store_degraded = self._gauge(
            "store_degraded", "Whether limits are kept per process for want of a store."
        )
        self.store_errors = self._counter(
            "store_errors_total", "Store operations that failed.", "op"
        )
        self.store_latency = self._histogram(
            "store_latency_seconds", "Time of a store operation.", STORE_BUCKETS_S, "op"
        )
        self.loop_lag = self._histogram(
            "event_loop_lag_seconds",
            "How much later than asked the event loop came back.",
            LAG_BUCKETS_S,
        )
        self.telemetry_dropped = self._counter(
            "telemetry_dropped_total", "Spans dropped: queue full or export failed."
        )
        self.config_reloads = self._counter(
            "config_reloads_total", "Attempts to reload the configuration."
        )
        self.config_loaded_at = self._gauge(
            "config_last_reload_success_timestamp_seconds",
            "Unix time at which the configuration in force was loaded.",
        )
        self.build_info = self._gauge(
            "build_info", "Always 1; what is running.", "version", "python"
        )
