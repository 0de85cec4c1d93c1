"""One object per call for the request path, and the one that makes them.

Rule: whoever serves a call speaks to its `Observation` only, and need not know what is
measured, traced or logged. Cheap: without tracing a call costs some look-ups and
increments. Nothing here raises into the call.
"""

import asyncio

from app.domain import ChatRequest, Usage
from app.errors import RateLimited
from app.telemetry.journal import Journal
from app.telemetry.labels import Outcome, error_code, outcome_of
from app.telemetry.listener import CallListener, ResilienceListener
from app.telemetry.logging import Logger, get_logger
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing
from resilience.call import Attempt
from resilience.clock import Clock, SystemClock
from resilience.events import Listener, Listeners


class Telemetry:
    """What one application tells about itself.

    Args:
        metrics: the application's metrics.
        tracing: its tracer; None is off.
        logger: where lines go; None takes the configuration of now.
        clock: the clock of the calls.

    `listener` is for objects that outlive a call, such as breakers and health.
    """

    def __init__(
        self,
        metrics: Metrics,
        tracing: Tracing | None = None,
        *,
        logger: Logger | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.metrics = metrics
        self.tracing = tracing or Tracing()
        self.logger = logger or get_logger()
        self.clock = clock or SystemClock()
        self._shared = ResilienceListener(metrics, self.logger)
        self.listener: Listener = Listeners((self._shared,))

    def observe(
        self, request: ChatRequest, *, policy: str = "", deadline_s: float | None = None
    ) -> "Observation":
        """Begin to observe a call; its `finish` must be called once it has ended."""
        return Observation(self, self._shared, request, policy, deadline_s)

    def record_refusal(
        self,
        error: BaseException,
        *,
        route: str = "",
        stream: bool = False,
        project: str = "",
        duration_s: float = 0.0,
    ) -> None:
        """Record a request answered with an error before it became a call.

        `route` and `project` are empty where they are not known yet.
        """
        self.metrics.record_request(
            route,
            outcome_of(error),
            fallback=False,
            stream=stream,
            duration_s=duration_s,
        )
        self.metrics.record_error(error_code(error))
        if isinstance(error, RateLimited):
            self.metrics.record_rate_limited("requests", project)

    async def aclose(self, timeout_s: float = 5.0) -> None:
        """Send the spans that wait, for `timeout_s` seconds at the most."""
        self.metrics.bind_loop(None)
        if self.tracing.enabled:
            await asyncio.to_thread(self.tracing.shutdown, timeout_s)


class Observation:
    """One call under observation. `listener` is for the call's `resilience.Call`."""

    __slots__ = (
        "_finished",
        "_journal",
        "_request",
        "_started_s",
        "_telemetry",
        "listener",
    )

    def __init__(
        self,
        telemetry: Telemetry,
        shared: ResilienceListener,
        request: ChatRequest,
        policy: str,
        deadline_s: float | None,
    ) -> None:
        self._telemetry = telemetry
        self._request = request
        self._started_s = telemetry.clock.now()
        self._finished = False
        self._journal = Journal(
            request, telemetry.metrics, telemetry.tracing, telemetry.logger
        )
        self._journal.begin(policy, deadline_s)
        self.listener: Listener = Listeners(
            (CallListener(shared, request.route), self._journal)
        )
        telemetry.metrics.record_call_started(request.route)

    @property
    def fallback(self) -> bool:
        """Whether another than the call's first choice was asked, or won as hedge."""
        return self._journal.fallback

    def traceparent(self, attempt: Attempt) -> str | None:
        """Return the `traceparent` header for the attempt's send, if there is one."""
        return self._journal.traceparent(attempt)

    def usage(self, attempt: Attempt, usage: Usage, cost_usd: float | None) -> None:
        """Record the tokens of an attempt; `cost_usd` is None without a price.

        Once per attempt, when the provider's figure is final: it is counted at once.
        """
        self._telemetry.metrics.record_usage(
            attempt.target, self._request.client.project, usage, cost_usd
        )
        entry = self._journal.entry(attempt)
        if entry is not None:
            entry.usage, entry.cost_usd = usage, cost_usd

    def answered(
        self,
        attempt: Attempt,
        *,
        response_id: str | None = None,
        model: str | None = None,
        finish_reason: str | None = None,
    ) -> None:
        """Note what the provider's answer says of itself; None leaves it as it is."""
        entry = self._journal.entry(attempt)
        if entry is None:
            return
        entry.response_id = response_id or entry.response_id
        entry.response_model = model or entry.response_model
        entry.finish_reason = finish_reason or entry.finish_reason

    def finish(self, outcome: Outcome, error: BaseException | None = None) -> None:
        """Record how the call ended; the first time counts.

        `error` is what the client was told; see `labels.outcome_of`.
        """
        if self._finished:
            return
        self._finished = True
        metrics, request = self._telemetry.metrics, self._request
        now_s, journal = self._telemetry.clock.now(), self._journal
        duration_s = now_s - self._started_s
        trace_id = _sampled_trace_id(journal)
        metrics.record_call_ended(request.route)
        metrics.record_request(
            request.route,
            outcome,
            fallback=journal.fallback,
            stream=request.stream,
            duration_s=duration_s,
            overhead_s=max(0.0, duration_s - journal.upstream_s(now_s)),
            trace_id=trace_id,
        )
        code = None if error is None else error_code(error)
        if code is not None and outcome is not Outcome.CANCELLED:
            metrics.record_error(code)
        journal.end(outcome, code)


def _sampled_trace_id(journal: Journal) -> str | None:
    chain = journal.chain
    if chain is None or not chain.is_recording():
        return None
    return f"{chain.get_span_context().trace_id:032x}"
