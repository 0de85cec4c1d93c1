"""A whole gateway above the wire: everything is real but the transport."""

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from app.domain import ChatRequest, Client
from app.errors import StreamBroken, classify
from app.gateway.accounting import Price, PriceList
from app.gateway.reply import Reply
from app.gateway.routing import Guards, Route, RouteTable, UpstreamTarget
from app.gateway.service import Gateway
from app.providers.openai import OpenAIProvider
from app.quota.ledger import Ledger, ScriptStore
from app.telemetry import Metrics, TargetName, Telemetry, Tracing
from app.upstream import Upstream
from resilience.admission import BreakerAdmit, BreakerPeek
from resilience.backoff import Backoff
from resilience.breaker import Breaker, BreakerConfig
from resilience.budget import RetryBudget
from resilience.bulkhead import Bulkhead
from resilience.chain import Chain, Target
from resilience.cooldown import CooldownGate
from resilience.health import Health
from resilience.pipeline import Pipeline
from resilience.retry import Retry
from resilience.slowness import SlownessRule
from resilience.testing import LoopClock
from resilience.timeout import Limits, Timeouts
from tests.app.gateway.streams import WHOLE, Scripted

CLIENT = Client("key-1", "team-a")
ANSWER = {
    "id": "c-1",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2},
}


class Body(Scripted, httpx.AsyncByteStream):
    """A scripted body that a response can carry."""


@dataclass
class Provider:
    """Answers each request with the next of `answers`; the last one repeats."""

    answers: list[Callable[[], httpx.Response | Exception] | float]
    requests: list[httpx.Request] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            raise httpx.ReadTimeout("too late", request=request)
        response = answer()
        if isinstance(response, Exception):
            raise response
        if isinstance(response.stream, Body):
            self.bodies.append(response.stream)
        return response


def streaming(
    *steps: bytes | float | BaseException, status: int = 200, **headers: str
) -> Callable[[], httpx.Response]:
    """A response whose body comes step by step."""
    named = {"content_type": "text/event-stream"} | headers
    raw = {name.replace("_", "-"): value for name, value in named.items()}
    return lambda: httpx.Response(status, headers=raw, stream=Body(*steps))


def whole(body: object = None, status: int = 200, **headers: str) -> Any:
    """A response that comes in one piece."""
    raw = orjson.dumps(ANSWER if body is None else body)
    named = {"content_type": "application/json"} | headers
    return streaming(raw, status=status, **named)


def failing(kind: type[Exception], told: str) -> Callable[[], Exception]:
    return lambda: kind(told)


GOOD = streaming(*WHOLE)


class Gate:
    """Everything that stands in front of one target."""

    def __init__(
        self, name: str, *, slots: int, queue: int, context_window: int | None
    ) -> None:
        clock = LoopClock()
        self.breaker = Breaker(name, BreakerConfig(), clock)
        self.bulkhead = Bulkhead(name, limit=slots, queue=queue, wait_s=60)
        self.guards = Guards(
            self.breaker,
            self.bulkhead,
            CooldownGate(name, clock, classify),
            RetryBudget(clock),
            Health(clock),
        )
        self.limits = Limits()
        slow = SlownessRule(first_token_s=8.0)
        layers = [
            Retry(clock, Backoff(), self.guards.budget, classify),
            self.guards.cooldown,
            BreakerPeek(self.breaker),
            self.bulkhead,
            BreakerAdmit(self.breaker, classify, slow),
            self.guards.budget,
            Timeouts(self.limits),
        ]
        pipeline = Pipeline(layers, classify=classify, is_slow=slow)
        self.target = Target(name, pipeline, self.guards, context_window)

    def upstream(self, name: str, api_key: str | None) -> UpstreamTarget:
        provider, model = name.split("/")
        return UpstreamTarget(
            name=name,
            provider=provider,
            model=model,
            dialect=OpenAIProvider(),
            base_url=f"http://{provider}.test/v1",
            api_key=api_key,
            limits=self.limits,
            guards=self.guards,
        )


class Scene:
    """A gateway with one route, `chat`, over alpha/m and beta/m."""

    def __init__(
        self,
        alpha: Sequence[Any] = (GOOD,),
        beta: Sequence[Any] = (GOOD,),
        *,
        store: ScriptStore | None = None,
        max_in_flight: int = 2000,
        slots: int = 64,
        queue: int = 32,
        deadline_s: float = 60.0,
        max_attempts: int = 4,
        windows: tuple[int | None, int | None] = (None, None),
        tracing: Tracing | None = None,
        **route: Any,
    ) -> None:
        self.providers = {"alpha": Provider([*alpha]), "beta": Provider([*beta])}
        names = [f"{name}/m" for name in self.providers]
        self.gates = {
            name: Gate(name, slots=slots, queue=queue, context_window=window)
            for name, window in zip(names, windows, strict=True)
        }
        chain = Chain([gate.target for gate in self.gates.values()], classify)
        upstreams = {n: gate.upstream(n, "sk-1") for n, gate in self.gates.items()}
        self.route = Route("chat", chain, upstreams, deadline_s, max_attempts, **route)
        self.clock = LoopClock()
        self.metrics = Metrics(
            routes=["chat"],
            targets=[TargetName(*name.split("/"), name) for name in names],
            projects=["team-a"],
        )
        self.gateway = Gateway(
            RouteTable([self.route]),
            Ledger(store, self.clock),
            Upstream(httpx.MockTransport(self._answer)),
            PriceList({"alpha/m": Price(1_000_000, 0)}),
            Telemetry(self.metrics, tracing, clock=self.clock),
            self.clock,
            max_in_flight=max_in_flight,
        )

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        return await self.providers[request.url.host.split(".")[0]](request)

    async def open(self, **request: Any) -> Reply:
        reply, _ = await self.gateway.chat(a_request(**request))
        return reply

    async def stream(self, **request: Any) -> list[bytes]:
        """Ask, and read the answer to its end as the API does."""
        return await read(await self.open(**request))

    async def complete(self, **request: Any) -> dict[str, Any]:
        """Ask for a whole answer."""
        reply = await self.open(stream=False, **request)
        await reply.close()
        assert reply.body is not None
        return reply.body

    @property
    def sends(self) -> dict[str, int]:
        return {name: len(one.requests) for name, one in self.providers.items()}

    def sent(self, provider: str = "alpha") -> httpx.Request:
        return self.providers[provider].requests[-1]

    @property
    def bodies(self) -> list[Body]:
        return [body for one in self.providers.values() for body in one.bodies]

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"llm_gateway_{name}", labels)

    def assert_at_rest(self) -> None:
        """Nothing is taken that somebody would have to give back."""
        assert self.gateway.in_flight == 0
        for gate in self.gates.values():
            assert gate.bulkhead.in_use == 0
            assert gate.bulkhead.queued == 0
        assert all(body.closed or body.ended for body in self.bodies)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others


async def read(reply: Reply) -> list[bytes]:
    """Read a reply to its end; close it whatever happens, as the API does."""
    read: list[bytes] = []
    try:
        async with aclosing(reply.events()) as events:
            async for event in events:
                read.append(event)
                await asyncio.sleep(0)  # the client takes it
    except StreamBroken:
        raise
    except BaseException as exc:
        await reply.close(exc)
        raise
    return read


def a_request(
    *,
    stream: bool = True,
    include_usage: bool = False,
    route: str = "chat",
    client: Client = CLIENT,
    timeout_s: float | None = None,
    **body: Any,
) -> ChatRequest:
    return ChatRequest(
        request_id="req_1",
        client=client,
        route=route,
        body={"model": route, "messages": [{"role": "user", "content": "hi"}], **body},
        stream=stream,
        include_usage=include_usage,
        timeout_s=timeout_s,
    )


@types.coroutine
def cancelled_at[T](step: int, main: Awaitable[T]) -> Generator[Any, Any, T]:
    """Await `main`, and cancel the task at its `step`-th suspension."""
    inner = main.__await__()
    suspensions = 0
    thrown: BaseException | None = None
    while True:
        try:
            suspended_on = next(inner) if thrown is None else inner.throw(thrown)
        except StopIteration as stop:
            result: T = stop.value
            return result
        thrown = None
        suspensions += 1
        if suspensions == step:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        try:
            yield suspended_on
        except BaseException as exc:
            thrown = exc
