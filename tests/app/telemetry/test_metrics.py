"""What recording does, and what it refuses to do."""

import asyncio
from typing import Any

import prometheus_client
import pytest

from app.domain import Usage
from app.errors import AppError, UpstreamError, classify
from app.telemetry import Metrics, Outcome
from app.telemetry.labels import error_codes, error_reasons
from app.telemetry.loop_lag import watch_loop
from resilience.call import Attempt, AttemptKind
from resilience.errors import Refused, TimedOut
from resilience.outcome import Counts
from resilience.testing import ManualClock
from tests.app.telemetry.scene import ALPHA, BETA, Scene


def test_each_application_has_a_registry_of_its_own() -> None:
    one, other = Metrics(routes=["chat"]), Metrics(routes=["chat"])
    one.record_call_started("chat")
    in_flight = ("llm_gateway_requests_in_flight", {"route": "chat"})
    assert one.registry.get_sample_value(*in_flight) == 1
    assert other.registry.get_sample_value(*in_flight) == 0
    assert prometheus_client.REGISTRY.get_sample_value(*in_flight) is None


@pytest.mark.parametrize(
    ("metric", "labels"),
    [
        ("requests_total", "route=chat outcome=error fallback=true"),
        (
            "attempts_total",
            "provider=alpha model=small kind=primary outcome=success error_type=none",
        ),
        ("circuit_breaker_transitions_total", "provider=alpha model=small to=open"),
        ("timeouts_total", "provider=alpha phase=first_token"),
        ("output_tokens_total", "provider=alpha model=small project=team-a"),
        ("errors_total", "code=all_targets_failed"),
        ("rate_limited_total", "scope=requests project=team-a"),
    ],
)
def test_ratios_have_their_series_before_anything_happened(
    metric: str, labels: str
) -> None:
    pairs = dict(pair.split("=") for pair in labels.split())
    assert Scene().value(metric, **pairs) == 0


def test_what_clients_send_never_becomes_a_label() -> None:
    metrics = Metrics(routes=["chat"], targets=[ALPHA], projects=["team-a"])
    hostile = 'x"} 1\nhostile'
    metrics.record_call_started(hostile)
    metrics.record_request(
        hostile, Outcome.ERROR, fallback=False, stream=False, duration_s=1.0
    )
    metrics.record_error(hostile)
    metrics.record_usage(hostile, hostile, Usage(1, 1), None)
    metrics.record_retry(ALPHA.name, hostile)
    metrics.record_fallback(hostile, hostile, hostile, hostile)
    metrics.record_rate_limited(hostile, hostile)
    metrics.record_timeout(ALPHA.name, hostile)
    metrics.record_store_operation(hostile, 0.1, failed=True)
    attempt = Attempt(hostile, 1, AttemptKind.PRIMARY, 0.0)
    metrics.record_attempt(attempt, Counts.FAILURE, hostile)
    exposition = metrics.render()[0].decode()
    assert "hostile" not in exposition
    assert 'requests_total{fallback="false",outcome="error",route="other"} 1.0' in (
        exposition
    )


def test_every_error_of_the_gateway_has_a_known_code_and_reason() -> None:
    def tree(root: Any) -> list[Any]:
        return [root, *(one for child in root.__subclasses__() for one in tree(child))]

    made = [
        *(kind(1.0) for kind in tree(TimedOut)),
        *(kind("alpha/small") for kind in tree(Refused)),
        *(kind() for kind in tree(UpstreamError)),
        asyncio.CancelledError(),
        ValueError(),
    ]
    assert {classify(exc).reason for exc in made} <= error_reasons()
    assert {kind.code for kind in tree(AppError)} == error_codes()


def test_usage_is_counted_with_its_subsets_and_its_cost() -> None:
    scene = Scene()
    usage = Usage(100, 40, cached_tokens=60, reasoning_tokens=10)
    scene.metrics.record_usage(BETA.name, "team-a", usage, 0.25)
    scene.metrics.record_usage(BETA.name, "team-a", Usage(1, 1), None)
    labels = {"provider": "beta", "model": "Qwen/Qwen3-8B", "project": "team-a"}
    assert scene.value("input_tokens_total", **labels) == 101
    assert scene.value("output_tokens_total", **labels) == 41
    assert scene.value("cache_read_tokens_total", **labels) == 60
    assert scene.value("reasoning_tokens_total", **labels) == 10
    assert scene.value("cost_usd_total", **labels) == 0.25
    assert scene.value("cost_unknown_total", **labels) == 1


def test_the_state_of_the_store_and_of_the_configuration_is_told() -> None:
    scene = Scene()
    scene.metrics.record_store_state(up=False, degraded=True)
    scene.metrics.record_config_loaded(reload=True, ok=False)
    assert scene.value("store_up") == 0
    assert scene.value("store_degraded") == 1
    assert scene.value("config_reloads_total") == 1
    assert scene.value("config_last_reload_success_timestamp_seconds") == 0
    scene.metrics.record_config_loaded()
    assert (scene.value("config_last_reload_success_timestamp_seconds") or 0) > 0


def test_prometheus_gets_its_text_format_and_openmetrics_when_it_asks() -> None:
    metrics = Metrics(routes=["chat"])
    body, content_type = metrics.render("")
    assert content_type.startswith("text/plain; version=0.0.4")
    assert b"# EOF" not in body
    asks = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    body, content_type = metrics.render(asks)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")


def test_the_trace_of_a_sampled_request_is_its_exemplar() -> None:
    metrics = Metrics(routes=["chat"])
    metrics.record_request(
        "chat",
        Outcome.SUCCESS,
        fallback=False,
        stream=True,
        duration_s=0.07,
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    )
    body, _ = metrics.render("application/openmetrics-text;version=1.0.0")
    marked = [line for line in body.splitlines() if b"4bf92f3577b34da6" in line]
    assert len(marked) == 1
    assert marked[0].startswith(b"llm_gateway_request_duration_seconds_bucket")
    assert b"4bf92f3577b34da6" not in metrics.render()[0]


async def test_a_loop_that_comes_back_late_shows_how_late() -> None:
    scene = Scene()

    class Late(ManualClock):
        left = 3

        async def sleep(self, delay_s: float) -> None:
            if not self.left:
                raise asyncio.CancelledError
            self.left -= 1
            self.advance(delay_s + 0.2)

    with pytest.raises(asyncio.CancelledError):
        await watch_loop(scene.metrics, Late())
    assert scene.value("event_loop_lag_seconds_count") == 3
    assert scene.value("event_loop_lag_seconds_bucket", le="0.1") == 0
    assert scene.value("event_loop_lag_seconds_bucket", le="0.25") == 3
