"""The metrics are those of the design, to the letter: names, labels, buckets."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.domain import Usage
from app.telemetry import Metrics
from app.telemetry.logging import LlmCallFields
from resilience.testing import ManualClock
from tests.app.telemetry.scene import ALPHA, BETA, live

REPOSITORY = Path(__file__).parents[3]

TABLE = {
    "requests_total": ("counter", "route outcome fallback"),
    "request_duration_seconds": ("histogram", "route stream outcome"),
    "overhead_seconds": ("histogram", "route"),
    "requests_in_flight": ("gauge", "route"),
    "errors_total": ("counter", "code"),
    "attempts_total": ("counter", "provider model kind outcome error_type"),
    "attempt_duration_seconds": ("histogram", "provider model outcome"),
    "time_to_first_token_seconds": ("histogram", "provider model"),
    "time_per_output_token_seconds": ("histogram", "provider model"),
    "input_tokens_total": ("counter", "provider model project"),
    "output_tokens_total": ("counter", "provider model project"),
    "cache_read_tokens_total": ("counter", "provider model project"),
    "reasoning_tokens_total": ("counter", "provider model project"),
    "cost_usd_total": ("counter", "provider model project"),
    "cost_unknown_total": ("counter", "provider model project"),
    "provider_up": ("gauge", "provider model"),
    "provider_health_score": ("gauge", "provider model"),
    "provider_last_success_timestamp_seconds": ("gauge", "provider model"),
    "circuit_breaker_state": ("gauge", "provider model state"),
    "circuit_breaker_transitions_total": ("counter", "provider model to"),
    "circuit_breaker_not_permitted_total": ("counter", "provider model"),
    "circuit_breaker_shared": ("gauge", "provider model"),
    "hedges_total": ("counter", "provider result"),
    "retries_total": ("counter", "provider reason"),
    "retry_budget_exhausted_total": ("counter", "provider reason"),
    "retry_budget_remaining_ratio": ("gauge", "provider"),
    "fallbacks_total": ("counter", "route from_provider to_provider reason"),
    "timeouts_total": ("counter", "provider phase"),
    "streams_broken_total": ("counter", "provider reason"),
    "bulkhead_in_use": ("gauge", "provider model"),
    "bulkhead_limit": ("gauge", "provider model"),
    "bulkhead_queued": ("gauge", "provider model"),
    "bulkhead_rejected_total": ("counter", "provider model"),
    "bulkhead_wait_seconds": ("histogram", "provider model"),
    "rate_limited_total": ("counter", "scope project"),
    "store_up": ("gauge", ""),
    "store_degraded": ("gauge", ""),
    "store_errors_total": ("counter", "op"),
    "store_latency_seconds": ("histogram", "op"),
    "event_loop_lag_seconds": ("histogram", ""),
    "telemetry_dropped_total": ("counter", ""),
    "config_reloads_total": ("counter", ""),
    "config_last_reload_success_timestamp_seconds": ("gauge", ""),
    "build_info": ("gauge", "version python"),
}

BUCKETS = {
    "request_duration_seconds": ".05 .1 .25 .5 1 2.5 5 10 20 30 60 120 300 600",
    "attempt_duration_seconds": ".05 .1 .25 .5 1 2.5 5 10 20 30 60 120 300 600",
    "time_to_first_token_seconds": (
        ".05 .1 .25 .5 .75 1 1.5 2.5 5 7.5 10 20 30 60 120"
    ),
    "time_per_output_token_seconds": (".01 .025 .05 .075 .1 .15 .2 .3 .4 .5 .75 1 2.5"),
    "overhead_seconds": ".0005 .001 .0025 .005 .01 .025 .05 .1 .25 1",
}


@pytest.fixture
def exposition() -> str:
    metrics = Metrics(
        routes=["chat"],
        targets=[ALPHA, BETA],
        projects=["team-a"],
        store_ops=["ping"],
    )
    clock = ManualClock()
    metrics.track_targets([live(clock, ALPHA), live(clock, BETA)])
    metrics.record_build("0.1.0")
    # Subsets of tokens and fallbacks have too many members to make them beforehand.
    metrics.record_fallback("chat", ALPHA.name, BETA.name, "unavailable")
    usage = Usage(2, 2, cached_tokens=1, reasoning_tokens=1)
    metrics.record_usage(ALPHA.name, "team-a", usage, None)
    return metrics.render()[0].decode()


def _of_the_gateway(exposition: str) -> dict[str, tuple[str, str]]:
    found = {}
    for family in text_string_to_metric_families(exposition):
        if not family.name.startswith("llm_gateway_"):
            continue
        name = family.name.removeprefix("llm_gateway_")
        name += "_total" if family.type == "counter" else ""
        labels = family.samples[0].labels.keys() - {"le"}
        found[name] = (family.type, " ".join(sorted(labels)))
    return found


def test_every_metric_has_the_type_and_labels_of_the_design(exposition: str) -> None:
    expected = {
        name: (kind, " ".join(sorted(labels.split())))
        for name, (kind, labels) in TABLE.items()
    }
    assert _of_the_gateway(exposition) == expected


@pytest.mark.parametrize("name", BUCKETS)
def test_a_histogram_has_the_buckets_of_the_design(name: str, exposition: str) -> None:
    bounds = re.findall(rf'llm_gateway_{name}_bucket{{.*?le="([^"]+)"', exposition)
    expected = {float(bound) for bound in BUCKETS[name].split()}
    assert {float(bound) for bound in bounds} == expected | {float("inf")}


def test_there_are_no_created_series(exposition: str) -> None:
    assert "_created" not in exposition


def test_every_metric_is_documented_with_its_labels() -> None:
    page = (REPOSITORY / "docs" / "observability.md").read_text()
    row = r"^\| `(\w+)` \| ((?:counter|gauge|histogram) \| [^|]*) \|"
    rows = dict(re.findall(row, page, re.MULTILINE))
    expected = {
        name: f"{kind} | {', '.join(f'`{label}`' for label in labels.split()) or '–'}"  # noqa: RUF001 - the dash of an empty cell
        for name, (kind, labels) in TABLE.items()
    }
    assert rows == expected


def test_every_field_of_an_llm_call_is_documented() -> None:
    page = (REPOSITORY / "docs" / "observability.md").read_text()
    fields = ", ".join(f"`{name}`" for name in LlmCallFields.__annotations__)
    assert f"| {fields} |" in page
