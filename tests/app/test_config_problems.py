"""What is wrong with a gateway.yaml is told all at once, with its line and a cure."""

from pathlib import Path

import pytest

from app.config import ConfigError, ConfigUnreadable, load
from tests.app.configuration import (
    HASH,
    MINIMAL,
    OTHER_HASH,
    TARGETS,
    config_of,
    marked_line,
    problems_of,
)

SINGLE_SETTINGS = {
    "an unknown section": ("sever: {port: 1}", "sever", "Did you mean `server`?"),
    "an unknown setting": (
        "server: {prot: 1}",
        "server.prot",
        "Did you mean `port`?",
    ),
    "text for a number": ("server: {port: '80'}", "server.port", "Port to listen on"),
    "a port out of range": ("server: {port: 65536}", "server.port", "Port to listen"),
    "a section that is none": ("server: here", "server", "How it listens."),
    "an empty section": ("server:", "server", "Fill it in or remove it."),
    "a negative time": (
        "policies: {p: {deadline_s: -1}}",
        "policies.p.deadline_s",
        "How long a request may take",
    ),
    "an endless time": (
        "policies: {p: {deadline_s: .inf}}",
        "policies.p.deadline_s",
        "How long a request may take",
    ),
    "too many attempts": (
        "policies: {p: {max_attempts: 11}}",
        "policies.p.max_attempts",
        "How often a request is sent",
    ),
    "a name with a blank": (
        "policies: {'a b': {}}",
        'policies["a b"]',
        "",
    ),
    "a list item of the wrong kind": (
        f"  - {{id: two, project: p, sha256: {OTHER_HASH}, routes: [7]}}",
        "keys[1].routes[0]",
        "Routes it may use",
    ),
    "a store of another kind": (
        "store: {url: 'memcached://cache'}",
        "store.url",
        "redis://… or valkey://…",
    ),
    "a store that is no text": ("store: {url: 6379}", "store.url", "Write {env: NAME}"),
    "a collector without a host": (
        "telemetry: {traces: {endpoint: collector}}",
        "telemetry.traces.endpoint",
        "OTLP/HTTP collector",
    ),
}


@pytest.mark.parametrize("name", SINGLE_SETTINGS)
def test_every_setting_is_checked_by_itself(name: str) -> None:
    line, path, fix = SINGLE_SETTINGS[name]

    (problem,) = problems_of(MINIMAL + line)

    assert problem.path == path
    assert problem.line == MINIMAL.count("\n") + 1
    assert fix in problem.fix


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("ftp://alpha/v1", "must be a URL"),
        ("alpha/v1", "must be a URL"),
        ("http://", "must be a URL"),
        ("http://alpha:99999/v1", "must be a URL"),
        ("http://alpha:port/v1", "must be a URL"),
        ("http://al pha/v1", "must be a URL"),
        ("http://user@alpha/v1", "must not hold credentials"),
        ("http://alpha/v1?key=1", "must not have a query"),
        ("http://alpha/v1#here", "must not have a query"),
        ("http://alpha/v1/chat/completions/", "must end before /chat/completions"),
    ],
)
def test_a_base_url_is_checked(url: str, what: str) -> None:
    (problem,) = problems_of(MINIMAL.replace("http://alpha/v1", url))

    assert (problem.path, problem.line) == ("providers.alpha.base_url", 2)
    assert what in problem.what


@pytest.mark.parametrize("digest", ["g" * 64, "a" * 63, "a" * 65, ""])
def test_a_hash_has_64_hexadecimal_digits(digest: str) -> None:
    (problem,) = problems_of(MINIMAL.replace(HASH, digest))

    assert (problem.path, problem.line) == ("keys[0].sha256", 10)
    assert "64 hexadecimal digits" in problem.what


NOT_YET = {
    "server.max_in_flight": "server: {max_in_flight: 2000}",
    "server.loop_lag_limit_s": "server: {loop_lag_limit_s: 0.1}",
    "store.on_loss": "store: {on_loss: bounded}",
    "policies.p.breaker.shared": "policies: {p: {breaker: {shared: true}}}",
    "policies.p.probe": "policies: {p: {probe: {enabled: true}}}",
    "admin_keys": "admin_keys: []",
    "telemetry.metrics": "telemetry: {metrics: {exemplars: true}}",
    "telemetry.traces.capture_content": "telemetry: {traces: {capture_content: false}}",
}


@pytest.mark.parametrize("path", NOT_YET)
def test_a_setting_that_would_do_nothing_is_refused(path: str) -> None:
    (problem,) = problems_of(MINIMAL + NOT_YET[path])

    assert problem.path == path
    assert "is not supported by this version" in problem.what
    assert problem.fix == "Remove it."


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (
            (
                'dialect: openai, base_url: "http://a',
                'dialect: anthropic, base_url: "http://a',
            ),
            "providers.alpha.dialect",
        ),
        (
            ("    targets:", "    on_stream_break: fail\n    targets:"),
            "routes.chat.on_stream_break",
        ),
        (
            ("    targets:", "    on_untranslatable: drop\n    targets:"),
            "routes.chat.on_untranslatable",
        ),
        (("{id: one", "{class: default, id: one"), "keys[0].class"),
        (("{id: one", "{quotas: {}, id: one"), "keys[0].quotas"),
        (
            ("{id: one", "{limits: {concurrent: 1}, id: one"),
            "keys[0].limits.concurrent",
        ),
    ],
)
def test_what_comes_later_is_refused_as_such(
    change: tuple[str, str], path: str
) -> None:
    (problem,) = problems_of(MINIMAL.replace(*change))

    assert problem.path == path
    assert "is not supported by this version" in problem.what


def test_an_unknown_value_is_told_what_is_known() -> None:
    text = MINIMAL.replace("    targets:", "    upstream_stream: often\n    targets:")

    (problem,) = problems_of(text)

    assert problem.what == "must be 'auto' or 'never'"
    assert problem.line == 6


def test_all_problems_are_told_at_once_in_the_order_of_their_lines() -> None:
    text = f"""\
    server: {{port: 99999, hots: x}}
    providers:
      alpha: {{dialect: openai}}
    routes:
      chat:
        targets:
          - provider: beta
            model: 7
        on_malformed_chunk: ignore
        policy: quick
    policies:
      slow: {{deadline_s: 1}}
    keys:
      - id: one
        project: p
        sha256: {HASH}
        routes: [chaat]
    service: {{}}
    service: {{}}
    """

    told = [(problem.line, problem.path) for problem in problems_of(text)]

    assert told == [
        (1, "server.hots"),
        (1, "server.port"),
        (3, "providers.alpha.base_url"),
        (7, "routes.chat.targets[0].provider"),
        (8, "routes.chat.targets[0].model"),
        (9, "routes.chat.on_malformed_chunk"),
        (10, "routes.chat.policy"),
        (12, "policies.slow.timeouts.first_token_s"),
        (17, "keys[0].routes[0]"),
        (19, "service"),
    ]


def test_a_problem_is_one_line_that_an_editor_can_follow() -> None:
    with pytest.raises(ConfigError) as raised:
        config_of(MINIMAL + "server:\n  prot: 1\nservcie: {}")

    assert str(raised.value).splitlines() == [
        "gateway.yaml:12: server.prot: there is no such setting. Did you mean `port`?",
        "gateway.yaml:13: servcie: there is no such setting. Did you mean `service`?",
    ]


@pytest.mark.parametrize("section", ["providers", "routes", "keys"])
def test_a_section_that_must_be_there_is_asked_for(section: str) -> None:
    text = MINIMAL.replace(f"{section}:", f"{section}_gone:")

    problems = problems_of(text)

    missing = [one for one in problems if one.path == section]
    assert [one.what for one in missing] == ["is missing"]
    assert missing[0].fix.startswith("Add it.")


def test_a_route_has_a_target() -> None:
    (problem,) = problems_of(MINIMAL.replace(TARGETS, "      []\n"))

    assert (problem.path, problem.line) == ("routes.chat.targets", 6)
    assert problem.what == "must not be empty"


def test_there_is_a_provider_and_a_route() -> None:
    problems = problems_of("providers: {}\nroutes: {}\nkeys: []")

    assert [(one.line, one.path, one.what) for one in problems] == [
        (1, "providers", "must not be empty"),
        (2, "routes", "must not be empty"),
    ]


YAML_FAULTS = {
    "a name given twice": (
        MINIMAL + "server: {}\nserver: {}  # here",
        "server",
        "is given twice",
    ),
    "a route given twice": (
        MINIMAL.replace(
            "keys:", "  chat:  # here\n    targets: [{provider: beta, model: m}]\nkeys:"
        ),
        "routes.chat",
        "is given twice",
    ),
    "a name that is a number": (
        MINIMAL.replace(
            "keys:", "  1: {targets: [{provider: beta, model: m}]}  # here\nkeys:"
        ),
        "routes",
        "the name 1 is not text",
    ),
    "a name that is a list": (
        MINIMAL + "? [a]  # here\n: 1",
        "",
        "a name must be text",
    ),
    "an unknown tag": (
        MINIMAL + "service: {name: !thing x}  # here",
        "service.name",
        "could not determine a constructor",
    ),
    "a date that is none": (
        MINIMAL + "service: {name: 2000-13-45}  # here",
        "service.name",
        "looks like a number or a date",
    ),
    "an anchor within itself": (
        MINIMAL + "service: &a {name: x, environment: *a}  # here",
        "service.environment",
        "an anchor contains itself",
    ),
}


@pytest.mark.parametrize("name", YAML_FAULTS)
def test_yaml_that_invites_mistakes_is_refused(name: str) -> None:
    text, path, what = YAML_FAULTS[name]

    problem = problems_of(text)[0]

    assert problem.path == path
    assert problem.line == marked_line(text)
    assert what in problem.what


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("server: {port: 1\nkeys: []", 2),
        ("server:\n\tport: 1", 2),
        ("server: *nowhere", 1),
        ("a: 1\n---\nb: 2", 2),
        ("a: 1\nb: \x01", 2),
    ],
    ids=[
        "a bracket left open",
        "a tab",
        "an unknown alias",
        "two documents",
        "control",
    ],
)
def test_what_is_not_yaml_is_told_with_its_line(text: str, line: int) -> None:
    (problem,) = problems_of(text)

    assert problem.line == line
    assert problem.what.startswith("this is not YAML: ")


@pytest.mark.parametrize("text", ["", "# nothing\n", "[1, 2]", "text"])
def test_a_file_without_sections_is_no_configuration(text: str) -> None:
    (problem,) = problems_of(text)

    assert problem.what == "this is no configuration"


def test_a_file_that_is_not_there_is_told_without_a_line(tmp_path: Path) -> None:
    file = tmp_path / "nowhere.yaml"

    with pytest.raises(ConfigUnreadable) as raised:
        load(file)

    assert str(raised.value).startswith(f"{file}: there is no such file. Name one by")


def test_a_folder_or_a_file_of_bytes_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigUnreadable, match="is not UTF-8 text"):
        load(tmp_path / "bytes.yaml")
    with pytest.raises(ConfigUnreadable, match="cannot be read"):
        load(tmp_path)
