"""Secrets come by reference, and are never shown."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from app.config import ConfigError, Provider, load, parse
from tests.app.configuration import FILE, HASH, MINIMAL, config_of, problems_of

VALUE = "sk-live-0123456789abcdef"

WITH_KEY = MINIMAL.replace(
    '"http://alpha/v1"', '"https://alpha/v1", api_key: {reference}'
)


def with_key(reference: str) -> str:
    """A configuration whose provider alpha has this api_key."""
    return WITH_KEY.replace("{reference}", reference)


def api_key_of(reference: str, environ: dict[str, str]) -> str:
    key = config_of(with_key(reference), environ).providers["alpha"].api_key
    assert key is not None
    return key.get_secret_value()


def test_a_secret_is_taken_from_the_environment() -> None:
    assert api_key_of("{env: KEY}", {"KEY": VALUE}) == VALUE


def test_white_space_around_a_secret_is_dropped() -> None:
    assert api_key_of("{env: KEY}", {"KEY": f" {VALUE}\n"}) == VALUE


def test_a_secret_is_taken_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "alpha.key").write_text(VALUE + "\n", "utf-8")
    file = tmp_path / "gateway.yaml"
    file.write_text(with_key("{file: alpha.key}"), "utf-8")

    key = load(file, {}).providers["alpha"].api_key

    assert key is not None
    assert key.get_secret_value() == VALUE


def test_a_default_holds_when_the_variable_is_not_set_or_empty() -> None:
    text = MINIMAL + "store: {url: {env: REDIS_URL, default: embedded}}"

    for environ in ({}, {"REDIS_URL": ""}):
        assert config_of(text, environ).store.url.get_secret_value() == "embedded"
    config = config_of(text, {"REDIS_URL": "valkey://:pass@cache:6379"})
    assert config.store.url.get_secret_value() == "valkey://:pass@cache:6379"


def test_without_an_optional_store_limits_stay_in_the_process() -> None:
    config = config_of(MINIMAL + "store: {url: {env: REDIS_URL, optional: true}}")

    assert config.store.url.get_secret_value() == "none"


def test_without_an_optional_collector_there_are_no_traces() -> None:
    text = MINIMAL + "telemetry: {traces: {endpoint: {env: OTLP, optional: true}}}"

    assert config_of(text).telemetry.traces.endpoint is None
    endpoint = config_of(text, {"OTLP": "http://otel:4318"}).telemetry.traces.endpoint
    assert endpoint is not None
    assert endpoint.get_secret_value() == "http://otel:4318"


def test_a_provider_without_its_optional_secret_is_left_out_of_every_chain() -> None:
    config = config_of(with_key("{env: KEY, optional: true}"))

    assert set(config.providers) == {"beta"}
    assert [target.name for target in config.routes["chat"].targets] == ["beta/m"]
    assert config.notes == (
        "provider alpha is left out: the environment variable KEY is not set",
    )


def test_a_file_that_is_not_there_leaves_an_optional_provider_out(
    tmp_path: Path,
) -> None:
    text = with_key("{file: nowhere.key, optional: true}")

    config = parse(text, {}, file=tmp_path / "gateway.yaml")

    assert config.notes == (
        "provider alpha is left out: the file nowhere.key does not exist or is empty",
    )


def test_a_route_without_any_provider_left_is_left_out_of_keys_as_well() -> None:
    text = with_key("{env: KEY, optional: true}").replace(
        "keys:", "  alone: {targets: [{provider: alpha, model: m}]}\nkeys:"
    )
    text = text.replace("{id: one", "{routes: [alone, chat], id: one")

    config = config_of(text)

    assert set(config.routes) == {"chat"}
    assert config.keys[0].routes == ("chat",)
    assert "route alone is left out: none of its providers is left" in config.notes


def test_a_configuration_with_no_route_left_cannot_be_used() -> None:
    text = with_key("{env: KEY, optional: true}").replace(
        "      - {provider: beta, model: m}\n", ""
    )

    (problem,) = problems_of(text)

    assert problem.path == "routes"
    assert "the environment variable KEY is not set" in problem.what


def test_a_key_without_its_optional_hash_is_left_out() -> None:
    text = MINIMAL.replace(f'"{HASH}"', "{env: KEY_HASH, optional: true}")

    config = config_of(text)

    assert config.keys == ()
    assert config.notes == (
        "key one is left out: the environment variable KEY_HASH is not set",
        "there is no key: every request will be answered 401",
    )
    assert len(config_of(text, {"KEY_HASH": HASH}).keys) == 1


@pytest.mark.parametrize(
    ("reference", "what", "fix"),
    [
        (VALUE, "is a secret", "Write {env: NAME}"),
        ("{env: KEY}", "the environment variable KEY is not set", "`optional: true`"),
        ("{file: no.key}", "the file no.key does not exist", "`optional: true`"),
        (f"{{env: KEY, default: {VALUE}}}", "has no `default`", "`optional: true`"),
        ("{aws_secret: a/b, field: c}", "`aws_secret` is not supported", "{env: NAME}"),
        ("{env: KEY, file: k}", "names one source", "`env` or `file`"),
        ("{optional: true}", "names one source", "`env` or `file`"),
        ("{env: 1}", "`env` of a reference must be text", "`env` or `file`"),
        ("{env: KEY, optional: 1}", "must be true or false", "`optional: true`"),
        ("{env: KEY, fallback: a}", "has no field `fallback`", "`default`"),
        ("[a]", "is a secret", "Write {env: NAME}"),
    ],
)
def test_a_bad_reference_is_explained(reference: str, what: str, fix: str) -> None:
    (problem,) = problems_of(with_key(reference))

    assert (problem.path, problem.line) == ("providers.alpha.api_key", 2)
    assert what in problem.what
    assert fix in problem.fix


def test_a_file_that_is_no_text_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "alpha.key").write_bytes(b"\xff\xfe")

    for name in ("alpha.key", '"nul\\0"'):
        with pytest.raises(ConfigError, match="cannot be read: it is not UTF-8"):
            parse(with_key(f"{{file: {name}}}"), {}, file=tmp_path / "gateway.yaml")


def test_a_folder_instead_of_a_file_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        parse(with_key("{file: .}"), {}, file=tmp_path / "gateway.yaml")


def test_a_secret_can_be_given_in_code() -> None:
    provider = Provider(
        dialect="openai", base_url="http://alpha/v1", api_key=SecretStr(VALUE)
    )

    assert provider.api_key == SecretStr(VALUE)
    assert VALUE not in repr(provider)


def test_a_reference_in_code_finds_no_environment() -> None:
    settings = {"dialect": "openai", "base_url": "http://a", "api_key": {"env": "PATH"}}

    with pytest.raises(ValidationError, match="PATH is not set"):
        Provider.model_validate(settings)


def test_a_secret_shows_in_no_rendering_of_the_configuration() -> None:
    text = with_key("{env: KEY}").replace("keys:", "store: {url: {env: STORE}}\nkeys:")
    hidden = "hunter2hunter2"
    config = config_of(text, {"KEY": VALUE, "STORE": f"redis://:{hidden}@cache"})

    renderings = (
        repr(config),
        str(config),
        repr(config.providers),
        str(config.model_dump()),
        config.model_dump_json(),
        str(config.model_dump(mode="json")),
    )
    for rendering in renderings:
        assert VALUE not in rendering
        assert hidden not in rendering
        assert HASH not in rendering


@pytest.mark.parametrize(
    "text",
    [
        with_key(VALUE),
        with_key(f"[{VALUE}]"),
        with_key(f"{{env: KEY, default: {VALUE}}}"),
        with_key(f"{{env: KEY, optional: {VALUE}}}"),
        with_key(f"{{env: [{VALUE}]}}"),
        MINIMAL.replace(HASH, VALUE),
        MINIMAL.replace(f'"{HASH}"', "{env: KEY}"),
        MINIMAL.replace("http://alpha/v1", f"http://user:{VALUE}@alpha/v1"),
        MINIMAL.replace("http://alpha/v1", f"http://:{VALUE}#@alpha/v1"),
        MINIMAL.replace("http://alpha/v1", f"http://[{VALUE}]/v1"),
        MINIMAL + f'store: {{url: "redis://:{VALUE}@cache"}}',
        MINIMAL + f'store: {{url: "redis://:{VALUE}#@cache"}}',
        MINIMAL + f'store: {{url: {{env: A, default: "redis://:{VALUE}@cache"}}}}',
        MINIMAL + "store: {url: {env: KEY}}",
        MINIMAL + "telemetry: {traces: {endpoint: {env: KEY}}}",
        MINIMAL + f"server: {{port: {VALUE}}}",
        MINIMAL + f"server: {VALUE}",
    ],
)
def test_a_secret_in_the_wrong_place_shows_in_no_message(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text, {"KEY": VALUE}, file=FILE)

    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    for told in (str(raised.value), repr(raised.value)):
        assert VALUE not in told
        assert VALUE[:12] not in told
