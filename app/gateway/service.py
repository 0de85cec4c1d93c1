"""The request path, readable from top to bottom.

    hold → route → call → chain of targets → opened reply → … → closed

Rule: whatever is taken on the way is a lease of the call. If no reply is opened, all
of it is released here before the error goes on; once one is, the reply owns it.
"""

from functools import partial

from app.domain import ChatRequest
from app.errors import AppError, Draining, Overloaded
from app.gateway.accounting import PriceList
from app.gateway.attempt import ChatAttempt
from app.gateway.outcomes import client_error
from app.gateway.reply import Opened, Reply
from app.gateway.routing import Route, RouteTable
from app.quota.ledger import Hold, Ledger
from app.telemetry import Observation, Telemetry, outcome_of
from app.upstream import Upstream
from resilience.call import Call
from resilience.clock import Clock
from resilience.deadline import Deadline


class Gateway:
    """Answers chat completions. One instance serves every request of the process."""

    def __init__(
        self,
        routes: RouteTable,
        ledger: Ledger,
        upstream: Upstream,
        prices: PriceList,
        telemetry: Telemetry,
        clock: Clock,
        *,
        max_in_flight: int = 2000,
    ) -> None:
        self.routes = routes
        self._ledger = ledger
        self._upstream = upstream
        self._prices = prices
        self._telemetry = telemetry
        self._clock = clock
        self._max_in_flight = max_in_flight
        self.in_flight = 0
        self.draining = False

    async def chat(self, request: ChatRequest) -> tuple[Reply, Hold]:
        """Return the opened reply to `request`, and what its key has left.

        The caller closes the reply, by reading its events to the end or by `close`.

        Raises:
            AppError: what the client is to be told.
        """
        try:
            self._enter()
            try:
                hold = await self._ledger.hold(request.client)
                route = self.routes.find(request.route, request.client)
            except BaseException:  # cancelled too: it was counted in
                self.in_flight -= 1
                raise
        except AppError as exc:
            self._telemetry.record_refusal(
                exc,
                route=request.route,
                stream=request.stream,
                project=request.client.project,
            )
            raise
        return await self._open(request, route), hold

    async def _open(self, request: ChatRequest, route: Route) -> Reply:
        """Make the call, and return its reply once a target has opened it."""
        deadline_s = min(route.deadline_s, request.timeout_s or route.deadline_s)
        observation = self._telemetry.observe(
            request, policy=route.policy, deadline_s=deadline_s
        )
        call = Call(
            Deadline.after(self._clock, deadline_s),
            max_attempts=route.max_attempts,
            listener=observation.listener,
            labels={"route": route.name},
        )
        attempt = ChatAttempt(self._upstream, request, route, observation)
        try:
            opened: Opened = await route.chain.execute(attempt, call)
        except BaseException as exc:  # cancelled too: the call holds leases
            told = client_error(exc)
            try:
                await self._release(observation, call, exc, told)
                if told is exc:
                    raise
                raise told from exc
            finally:
                del told  # its traceback holds this frame
        return Reply(
            opened,
            call,
            fallback=observation.fallback,
            pass_usage=request.include_usage,
            close=partial(self._close, observation, call),
        )

    def _enter(self) -> None:
        """Count a request in, or turn it away: what this process should not start.

        Counted before anything is awaited: a burst must not pass a limit together.
        """
        if self.draining:
            raise Draining(retry_after_s=1)
        if self.in_flight >= self._max_in_flight:
            raise Overloaded(retry_after_s=1)
        self.in_flight += 1

    async def _close(
        self,
        observation: Observation,
        call: Call,
        reply: Reply,
        ended_by: BaseException | None,
    ) -> None:
        """Account for a reply, and release what it holds. Runs once per reply."""
        attempt, usage = call.attempt, reply.usage
        assert attempt is not None  # noqa: S101 - an attempt has opened the reply
        response_id, model = reply.names
        observation.answered(
            attempt,
            response_id=response_id,
            model=model,
            finish_reason=reply.finish_reason,
        )
        if usage is not None:
            cost = self._prices.cost_usd(reply.target, usage)
            observation.usage(attempt, usage, cost)
        await self._release(observation, call, ended_by, ended_by)

    async def _release(
        self,
        observation: Observation,
        call: Call,
        ended_by: BaseException | None,
        told: BaseException | None,
    ) -> None:
        """Give back everything a call holds; `told` is what its client gets."""
        try:
            await call.close(ended_by)
        finally:
            self.in_flight -= 1
            observation.finish(outcome_of(told), told)
