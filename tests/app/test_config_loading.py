"""What a good gateway.yaml becomes."""

import inspect
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.config import (
    Breaker,
    Bulkhead,
    Hedge,
    Policy,
    Retry,
    Timeouts,
    config_path,
    load,
)
from resilience import budget, bulkhead, hedge, latency, retry
from resilience.backoff import Backoff
from resilience.timeout import Limits
from resilience.trip import BreakerConfig
from tests.app.configuration import HASH, MINIMAL, OTHER_HASH, config_of

FULL = f"""
service: {{name: gate, environment: staging}}
server: {{host: 0.0.0.0, port: 9090, max_body_bytes: 20_971_520, drain_timeout_s: 5}}
store: {{url: "redis://cache:6379/0", timeout_s: 0.1}}
providers:
  openai:
    dialect: openai
    base_url: https://api.openai.com/v1/
    api_key: {{env: OPENAI_API_KEY}}
  vllm: {{dialect: openai, preset: vllm, base_url: "http://vllm:8000/v1"}}
routes:
  openai/gpt-4o:
    strategy: failover
    targets:
      - {{provider: openai, model: gpt-4o-mini, context_window: 128_000}}
      - {{provider: vllm, model: Qwen/Qwen3-8B, policy: patient}}
    policy: quick
    on_malformed_chunk: break
    on_content_filter: fallback
    upstream_stream: never
policies:
  quick:
    deadline_s: 30
    max_attempts: 3
    timeouts: {{connect_s: 1, first_token_s: 3, idle_s: 4, min_tokens_per_s: 1,
               total_s: 30}}
    retry: {{base_s: 0.1, throttle_base_s: 2, cap_s: 4, wait_up_to_s: 1,
            budget_ratio: 0.1, budget_min_per_s: 1}}
    breaker:
      enabled: true
      window: {{kind: time, size: 60}}
      min_calls: 20
      failure_ratio: 0.4
      slow_ratio: 0.7
      slow_first_token_s: 2
      slow_per_token_s: 0.5
      consecutive: 4
      open_s: 5
      open_cap_s: 50
      half_open: {{permitted: 4, concurrent: 2, verdict_within_s: 20}}
      ramp_s: 6
    bulkhead: {{limit: 8, queue: 4, wait_s: 0.5}}
  patient:
    timeouts: {{first_token_s: 25}}
keys:
  - id: team-a-1
    sha256: {HASH.upper()}
    project: team-a
    routes: [openai/gpt-4o]
    limits: {{requests_per_minute: 600}}
    expires: 2999-01-01
prices:
  openai/gpt-4o-mini: {{input: 0.15, output: 0.60, cache_read: 0.075}}
telemetry:
  logs: {{level: warning}}
  traces: {{endpoint: "http://collector:4318", sample_ratio: 1}}
"""


def test_every_setting_is_read() -> None:
    config = config_of(FULL, {"OPENAI_API_KEY": "sk-live"})
    route, quick = config.routes["openai/gpt-4o"], config.policies["quick"]

    assert (config.service.name, config.service.environment) == ("gate", "staging")
    assert (config.server.host, config.server.port) == ("0.0.0.0", 9090)  # noqa: S104 - only compared
    assert (config.server.max_body_bytes, config.server.drain_timeout_s) == (
        20 * 1024 * 1024,
        5,
    )
    assert config.store.url.get_secret_value() == "redis://cache:6379/0"
    assert config.store.timeout_s == 0.1
    assert config.providers["vllm"].preset == "vllm"
    assert [target.name for target in route.targets] == [
        "openai/gpt-4o-mini",
        "vllm/Qwen/Qwen3-8B",
    ]
    assert route.targets[0].context_window == 128_000
    assert (
        route.on_malformed_chunk,
        route.on_content_filter,
        route.upstream_stream,
    ) == ("break", "fallback", "never")
    assert (quick.deadline_s, quick.max_attempts) == (30, 3)
    assert config.telemetry.logs.level == "warning"
    assert config.telemetry.traces.sample_ratio == 1
    assert config.prices["openai/gpt-4o-mini"].cache_read == 0.075
    assert config.notes == ()


def test_a_policy_becomes_what_resilience_takes() -> None:
    quick = config_of(FULL, {"OPENAI_API_KEY": "k"}).policies["quick"]

    assert quick.timeouts.limits() == Limits(1, 3, 4, 1, total_s=30)
    assert quick.retry.backoff() == Backoff(0.1, 2, 4)
    assert quick.breaker.config() == BreakerConfig(
        window="time",
        window_size=60,
        min_calls=20,
        failure_ratio=0.4,
        slow_ratio=0.7,
        consecutive=4,
        open_s=5,
        open_cap_s=50,
        permitted=4,
        concurrent=2,
        verdict_within_s=20,
        ramp_s=6,
    )


def test_the_defaults_are_those_of_resilience() -> None:
    assert Timeouts().limits() == Limits()
    assert Retry().backoff() == Backoff()
    assert Breaker().config() == BreakerConfig()
    slots = Bulkhead().model_dump(exclude={"adaptive"})
    assert slots == _defaults(bulkhead.Bulkhead)
    assert Hedge().quantile == _defaults(latency.TargetLatency)["tail"]
    assert Hedge().budget_ratio == _defaults(hedge.Hedge)["budget_ratio"]
    assert Retry().wait_up_to_s == _defaults(retry.Retry)["wait_up_to_s"]
    account = _defaults(budget.RetryBudget)
    assert Retry().budget_ratio == account["ratio"]
    assert Retry().budget_min_per_s == account["floor_per_s"]


def _defaults(kind: type) -> dict[str, object]:
    parameters = inspect.signature(kind).parameters.values()
    return {
        one.name: one.default
        for one in parameters
        if one.default is not inspect.Parameter.empty and one.default is not None
    }


def test_a_short_file_gets_every_default() -> None:
    config = config_of(MINIMAL)
    route = config.routes["chat"]

    assert config.policies == {"default": Policy()}
    assert config.policy_of(route, route.targets[0]) == Policy()
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8080)
    assert config.store.url.get_secret_value() == "none"
    assert config.telemetry.traces.endpoint is None


def test_the_default_policy_can_be_changed() -> None:
    config = config_of(MINIMAL + "policies: {default: {max_attempts: 2}}")

    assert config.policies["default"].max_attempts == 2
    assert config.policies["default"].deadline_s == Policy().deadline_s


def test_the_policy_of_a_target_goes_before_that_of_its_route() -> None:
    config = config_of(FULL, {"OPENAI_API_KEY": "k"})
    route = config.routes["openai/gpt-4o"]

    assert config.policy_of(route, route.targets[0]) is config.policies["quick"]
    assert config.policy_of(route, route.targets[1]) is config.policies["patient"]


def test_a_configuration_cannot_be_changed() -> None:
    config = config_of(MINIMAL)

    with pytest.raises(ValidationError, match="frozen"):
        config.server.port = 1  # type: ignore[misc]  # what the test is about


def test_a_slash_at_the_end_of_a_base_url_does_not_matter() -> None:
    config = config_of(FULL, {"OPENAI_API_KEY": "k"})

    assert config.providers["openai"].base_url == "https://api.openai.com/v1"


def test_a_hash_is_kept_in_lower_case() -> None:
    (key,) = config_of(FULL, {"OPENAI_API_KEY": "k"}).keys

    assert key.sha256.get_secret_value() == HASH


def test_a_key_expires_when_its_day_begins_in_utc() -> None:
    (key,) = config_of(FULL, {"OPENAI_API_KEY": "k"}).keys

    assert key.expires == date(2999, 1, 1)
    assert key.expires_at == datetime(2999, 1, 1, tzinfo=UTC)
    assert config_of(MINIMAL).keys[0].expires_at is None


def test_anchors_and_merges_of_yaml_work() -> None:
    config = config_of(
        MINIMAL
        + """
policies:
  quick: &quick {deadline_s: 30, max_attempts: 2, timeouts: {total_s: 30}}
  quicker: {<<: *quick, deadline_s: 40}
"""
    )

    assert config.policies["quicker"].max_attempts == 2
    assert config.policies["quicker"].deadline_s == 40


def test_a_file_is_loaded_with_the_given_environment(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(FULL, "utf-8")

    config = load(file, {"OPENAI_API_KEY": "sk-live"})

    key = config.providers["openai"].api_key
    assert key is not None
    assert key.get_secret_value() == "sk-live"


def test_where_the_configuration_is_can_be_said_by_the_environment() -> None:
    assert config_path({"GATEWAY_CONFIG": "/etc/gate.yaml"}) == Path("/etc/gate.yaml")
    assert config_path({"GATEWAY_CONFIG": ""}) == Path("gateway.yaml")
    assert config_path({}) == Path("gateway.yaml")


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (("- {id: one", "- {expires: 2000-01-01, id: one"), "key one has expired"),
        (
            ("http://alpha/v1", "https://alpha/v1"),
            "provider alpha has no api_key: it is asked without a credential",
        ),
        (
            ('"http://alpha/v1"', '"http://alpha/v1", api_key: {env: HOME}'),
            "provider alpha gets its api_key over http",
        ),
        (
            ("keys:", "prices: {alpha/x: {input: 1, output: 1}}\nkeys:"),
            "the price of alpha/x is not used",
        ),
        (
            ("keys:", "policies: {default: {max_attempts: 1}}\nkeys:"),
            "route chat asks at most 1 of its 2 targets per request",
        ),
        (
            ("keys:", "policies: {default: {timeouts: {first_token_s: 120}}}\nkeys:"),
            "route chat never asks beta/m when all targets before it are silent",
        ),
    ],
)
def test_what_is_likely_not_meant_is_noted(change: tuple[str, str], note: str) -> None:
    (told,) = config_of(MINIMAL.replace(*change), {"HOME": "secret"}).notes

    assert told.startswith(note)


def test_a_known_service_that_needs_no_key_is_not_noted() -> None:
    text = MINIMAL.replace('"http://alpha/v1"', '"https://alpha/v1", preset: vllm')

    assert config_of(text).notes == ()


def test_no_key_at_all_is_noted() -> None:
    text = MINIMAL[: MINIMAL.index("keys:")] + "keys: []"

    assert config_of(text).notes == (
        "there is no key: every request will be answered 401",
    )


def test_two_keys_of_one_project_are_fine() -> None:
    text = MINIMAL + f'  - {{id: two, project: team, sha256: "{OTHER_HASH}"}}'

    assert [key.id for key in config_of(text).keys] == ["one", "two"]
