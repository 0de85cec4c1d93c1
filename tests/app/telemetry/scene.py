"""A small application to look at: two targets, one route, and what it tells."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.domain import ChatRequest, Client
from app.errors import classify
from app.telemetry import Metrics, TargetName, Telemetry, Tracing
from app.telemetry.logging import LineWriter
from resilience.backoff import Backoff
from resilience.breaker import Breaker, BreakerConfig
from resilience.budget import RetryBudget
from resilience.bulkhead import Bulkhead
from resilience.call import Call
from resilience.chain import Chain, Target
from resilience.deadline import Deadline
from resilience.health import Health
from resilience.pipeline import Pipeline
from resilience.retry import Retry
from resilience.testing import ManualClock, ScriptedOperation

ALPHA = TargetName("alpha", "small", "alpha/small", "alpha.test", 9001)
BETA = TargetName("beta", "Qwen/Qwen3-8B", "beta/Qwen/Qwen3-8B", "beta.test", 443)


@dataclass
class Live:
    """The live objects of one target."""

    provider: str
    model: str
    breaker: Breaker | None
    bulkhead: Bulkhead
    health: Health
    budget: RetryBudget


def live(clock: ManualClock, target: TargetName = ALPHA, **more: Any) -> Live:
    parts: dict[str, Any] = {
        "breaker": Breaker(target.name, BreakerConfig(), clock),
        "bulkhead": Bulkhead(target.name, limit=2, queue=3),
        "health": Health(clock),
        "budget": RetryBudget(clock),
    }
    return Live(target.provider, target.model, **(parts | more))


class AlwaysReady:
    """A target that refuses nobody."""

    def refusal(self) -> None:
        return None


@dataclass
class Scene:
    """A telemetry with everything that comes out of it."""

    clock: ManualClock = field(default_factory=ManualClock)
    traced: bool = True
    sample_ratio: float = 1.0
    level: int = 10

    def __post_init__(self) -> None:
        self.stdout = io.BytesIO()
        self.metrics = Metrics(
            routes=["chat"], targets=[ALPHA, BETA], projects=["team-a"]
        )
        self.exporter = InMemorySpanExporter()
        self.tracing = Tracing(
            self.exporter if self.traced else None,
            sample_ratio=self.sample_ratio,
            environment="test",
            on_dropped=self.metrics.record_dropped,
        )
        self.logger = structlog.wrap_logger(
            None,
            processors=[
                structlog.processors.add_log_level,
                LineWriter("breakwater", "test", self.stdout),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(self.level),
        ).bind()
        self.telemetry = Telemetry(
            self.metrics,
            self.tracing,
            logger=self.logger,
            clock=self.clock,
        )

    def call(self, observation: Any, *, max_attempts: int = 4) -> Call:
        return Call(
            Deadline.after(self.clock, 60.0),
            max_attempts=max_attempts,
            listener=observation.listener,
        )

    def chain(self, *targets: TargetName) -> Chain:
        def pipeline() -> Pipeline:
            budget = RetryBudget(self.clock)
            retry = Retry(self.clock, Backoff(), budget, classify)
            return Pipeline([retry, budget], classify=classify)

        return Chain(
            [Target(t.name, pipeline(), AlwaysReady()) for t in targets], classify
        )

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"llm_gateway_{name}", labels)

    def lines(self, message: str | None = None) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.stdout.getvalue().splitlines()]
        return [one for one in lines if message in (None, one["message"])]

    def spans(self) -> dict[str, ReadableSpan]:
        """Every span by its name, once the tracing is shut down."""
        assert self.tracing.shutdown(5.0)
        return {span.name: span for span in self.exporter.get_finished_spans()}


def a_request(
    body: Mapping[str, Any] | None = None,
    *,
    stream: bool = True,
    metadata: dict[str, str] | None = None,
    route: str = "chat",
    traceparent: str | None = None,
) -> ChatRequest:
    return ChatRequest(
        request_id="req_1",
        client=Client("key-1", "team-a"),
        route=route,
        body={"model": route, **(body or {})},
        stream=stream,
        include_usage=False,
        metadata=metadata or {},
        traceparent=traceparent,
    )


def answering(clock: ManualClock, *steps: object) -> Callable[[Call], Any]:
    """An operation that takes half a second before each of `steps`."""
    scripted = ScriptedOperation(*steps)

    async def operation(call: Call) -> object:
        clock.advance(0.5)
        return await scripted(call)

    return operation
