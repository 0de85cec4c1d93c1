"""What is written about the configuration is true: the page, the schema, the files."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from app.config import config_path, json_schema, load, parse
from tests.app.configuration import HASH, MINIMAL

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "configuration.md"
SHIPPED = ROOT / "gateway.yaml"
SCHEMA = json_schema()

PLACES = {
    "Service": "service",
    "Server": "server",
    "Store": "store",
    "Provider": "providers.NAME",
    "Route": "routes.NAME",
    "Target": "routes.NAME.targets[]",
    "Policy": "policies.NAME",
    "Timeouts": "policies.NAME.timeouts",
    "Retry": "policies.NAME.retry",
    "Breaker": "policies.NAME.breaker",
    "Window": "policies.NAME.breaker.window",
    "HalfOpen": "policies.NAME.breaker.half_open",
    "Bulkhead": "policies.NAME.bulkhead",
    "Hedge": "policies.NAME.hedge",
    "Key": "keys[]",
    "KeyLimits": "keys[].limits",
    "Price": "prices.PROVIDER/MODEL",
    "Telemetry": "telemetry",
    "Logs": "telemetry.logs",
    "Traces": "telemetry.traces",
}


def sections() -> dict[str, dict[str, Any]]:
    """Every section that has settings of its own, by the heading it stands under."""
    found = {
        PLACES[name]: shape
        for name, shape in SCHEMA["$defs"].items()
        if shape.get("type") == "object"
    }
    return {"the file": SCHEMA} | found


def rows(place: str, section: dict[str, Any]) -> Iterator[str]:
    """How each row of the section's table begins: name, value, default."""
    required = section.get("required", [])
    for name, shape in section["properties"].items():
        default = "required" if name in required else default_of(shape)
        yield f"| `{name}` | {value_of(shape)} | {default} |"


def default_of(shape: dict[str, Any]) -> str:
    default = shape.get("default")
    if value_of(shape).startswith("section"):
        return "below"
    if default is None:
        return "not set"
    if isinstance(default, float):
        return f"`{default:g}`"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def value_of(shape: dict[str, Any]) -> str:
    """What may be written, in words."""
    shape = resolved(shape)
    if "anyOf" in shape:
        kinds = [one for one in shape["anyOf"] if one.get("type") != "null"]
        return " or ".join(value_of(one) for one in kinds)
    if "env" in shape.get("properties", {}):
        return "reference"
    if "enum" in shape or "const" in shape:
        return " · ".join(f"`{one}`" for one in shape.get("enum", [shape.get("const")]))
    if shape["type"] == "array":
        return f"list of {plain(shape['items'])}"
    if shape["type"] == "object":
        return "sections by name" if "properties" not in shape else "section"
    return plain(shape)


def plain(shape: dict[str, Any]) -> str:
    shape = resolved(shape)
    kind = {
        "integer": "integer",
        "number": "number",
        "boolean": "`true` · `false`",
        "object": "sections",
        "string": "name" if "pattern" in shape else "text",
    }[shape["type"]]
    if shape.get("format") == "date":
        return "date"
    return kind + bounds(shape)


def bounds(shape: dict[str, Any]) -> str:
    low, above, high = (
        shape.get(one) for one in ("minimum", "exclusiveMinimum", "maximum")
    )
    parts = [
        f"above {above}" if above is not None else "",
        f"from {low}" if low is not None else "",
        f"to {high}" if high is not None else "",
    ]
    told = " ".join(part for part in parts if part)
    return f", {told}" if told else ""


def resolved(shape: dict[str, Any]) -> dict[str, Any]:
    reference = shape.get("$ref")
    return SCHEMA["$defs"][reference.rpartition("/")[2]] if reference else shape


def table_under(heading: str) -> list[str]:
    """The rows of the table under the heading `heading` of the page."""
    page = PAGE.read_text("utf-8")
    match = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", page, re.M | re.S)
    assert match, f"docs/configuration.md has no heading '{heading}'"
    return [line for line in match[1].splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("place", sections())
def test_every_setting_is_documented_with_its_range_and_default(place: str) -> None:
    heading = "The file" if place == "the file" else f"`{place}`"
    written = table_under(heading)
    expected = list(rows(place, sections()[place]))

    assert len(written) == len(expected)
    for row, beginning in zip(written, expected, strict=True):
        assert row.startswith(beginning)
        assert len(row) > len(beginning) + 10, "its meaning is missing"


def test_every_setting_has_a_description_for_editors() -> None:
    for place, section in sections().items():
        for name, shape in section["properties"].items():
            described = shape.get("description") or resolved(shape)["description"]
            assert described, f"{place}.{name}"


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert "**" not in json.dumps(SCHEMA)


def fits_the_schema(text: str) -> bool:
    data = yaml.safe_load(text)
    return bool(jsonschema.Draft202012Validator(SCHEMA).is_valid(data))


def test_the_schema_takes_what_loading_takes() -> None:
    assert fits_the_schema(MINIMAL)
    assert fits_the_schema(SHIPPED.read_text("utf-8"))


@pytest.mark.parametrize(
    "mistake",
    [
        MINIMAL + "sever: {}",
        MINIMAL + "server: {port: '80'}",
        MINIMAL + "server: {port: 70000}",
        MINIMAL.replace("base_url", "api_key: sk-literal, base_url"),
        MINIMAL.replace("    targets:", "    strategy: random\n    targets:"),
        MINIMAL.replace("keys:", "prices:"),
    ],
)
def test_the_schema_refuses_what_loading_refuses(mistake: str) -> None:
    assert not fits_the_schema(mistake)


def test_the_shipped_configuration_works_without_any_secret() -> None:
    config = load(SHIPPED, {})

    chain = [target.name for target in config.routes["chat"].targets]
    assert chain == ["alpha/stand-in", "beta/stand-in"]
    assert [target.name for target in config.routes["chat-b"].targets] == [
        "beta/stand-in"
    ]
    assert config.store.url.get_secret_value() == "embedded"


def test_the_shipped_configuration_asks_openai_first_once_it_has_a_key() -> None:
    config = load(SHIPPED, {"OPENAI_API_KEY": "k", "GATEWAY_DEMO_KEY_SHA256": HASH})

    chain = [target.name for target in config.routes["chat"].targets]
    assert chain[0] == "openai/gpt-4o-mini"
    assert chain[1:] == ["alpha/stand-in", "beta/stand-in"]
    assert [key.id for key in config.keys] == ["demo"]
    assert config.notes == ()


def test_the_shipped_configuration_is_where_it_is_looked_for() -> None:
    assert ROOT / config_path({}) == SHIPPED


def shipped() -> list[Path]:
    """Every configuration that the repository brings, for whatever purpose."""
    patterns = ("gateway.yaml", "k8s/**/gateway*.yaml", "chaos/local/gateway*.yaml")
    return [
        path
        for pattern in (*patterns, "scripts/**/gateway*.yaml")
        for path in sorted(ROOT.glob(pattern))
    ]


@pytest.mark.parametrize(
    "file", shipped(), ids=lambda file: str(file.relative_to(ROOT))
)
def test_every_configuration_of_the_repository_can_be_used(file: Path) -> None:
    environ = {
        "OPENAI_API_KEY": "k",
        "GATEWAY_DEMO_KEY_SHA256": HASH,
        "GATEWAY_CLIENT_KEY_SHA256": HASH,
    }

    assert load(file, environ).routes


def examples() -> list[str]:
    page = PAGE.read_text("utf-8")
    return re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)


def test_every_example_of_the_page_works() -> None:
    assert examples()
    for number, example in enumerate(examples()):
        text = example if "providers:" in example else MINIMAL + example
        file = Path(f"example-{number}.yaml")
        environ = {"OPENAI_API_KEY": "k", "REDIS_URL": "redis://cache"}
        assert parse(text, environ, file=file)
