"""Turns the text of gateway.yaml into a `Config`, or into everything wrong with it.

Rule: the same way for `gateway serve` and `gateway check`. What depends on an optional
reference that leads nowhere is left out here, and said in the notes.
"""

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from app.config.checks import Draft, check
from app.config.explain import explain
from app.config.models import Config, Provider, Route
from app.config.problems import ConfigError, ConfigUnreadable, Finding, Problem
from app.config.references import Missing, Surroundings
from app.config.source import Source, read
from app.config.worst_case import worst_case


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the configuration is when nobody says: GATEWAY_CONFIG, or here."""
    return Path(environ.get("GATEWAY_CONFIG") or "gateway.yaml")


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Read the configuration at `path`.

    Raises:
        ConfigUnreadable: there is no such file, or it is no text.
        ConfigError: something is wrong in it; all of it is told.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigUnreadable([_unreadable(path, exc)]) from None
    return parse(text, environ, file=path)


def parse(text: str, environ: Mapping[str, str], *, file: Path) -> Config:
    """Read the configuration from `text`, that of `file`.

    Raises:
        ConfigError: something is wrong in it; all of it is told.
    """
    source = read(text)
    findings = [Finding(f.location, f.what, f.fix, f.line) for f in source.faults]
    surroundings = Surroundings(environ, file.parent)
    config = None
    if isinstance(source.data, dict):
        config, found = _validate(source.data, surroundings)
        findings += found
    elif not findings:
        findings.append(Finding((), "this is no configuration", _BEGIN))
    if config is not None and not findings:
        config, notes = _without_missing(config)
        if config.routes:
            return config.with_notes((*notes, *_oddities(config)))
        what = "no provider of any route is left: " + "; ".join(notes)
        findings.append(Finding(("routes",), what, "Provide one of them."))
    raise ConfigError(_problem(finding, source, file) for finding in findings)


_BEGIN = "Begin with the sections `providers`, `routes` and `keys`."


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of gateway.yaml, for editors."""
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **Config.model_json_schema(schema_generator=_SchemaOfTheFile),
        "title": "gateway.yaml",
    }


class _SchemaOfTheFile(GenerateJsonSchema):
    """Shows the defaults of values only, and those that are masked as well: what
    stands in the code is no secret."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        default = schema.get("default")
        if isinstance(default, (BaseModel, dict)):
            return self.generate_inner(schema["schema"])
        if isinstance(default, SecretStr):
            inner = self.generate_inner(schema["schema"])
            return {**inner, "default": default.get_secret_value()}
        return super().default_schema(schema)


def _unreadable(path: Path, exc: Exception) -> Problem:
    if isinstance(exc, FileNotFoundError):
        what = "there is no such file"
        fix = "Name one by --config or GATEWAY_CONFIG, or write ./gateway.yaml."
    elif isinstance(exc, OSError):
        what = f"cannot be read: {exc.strerror}"
        fix = "Look at its permissions."
    else:
        what, fix = "is not UTF-8 text", "Save it as UTF-8."
    return Problem(str(path), 0, "", what, fix)


def _validate(
    data: dict[str, Any], surroundings: Surroundings
) -> tuple[Config | None, list[Finding]]:
    findings: list[Finding] = []
    config = None
    try:
        config = Config.model_validate(data, context=surroundings)
    except ValidationError as exc:
        findings += explain(exc)
    findings += check(Draft(data, surroundings))
    return config, findings


def _problem(finding: Finding, source: Source, file: Path) -> Problem:
    line = finding.line or source.line_of(finding.location)
    return Problem(str(file), line, finding.path, finding.what, finding.fix)


def _without_missing(config: Config) -> tuple[Config, list[str]]:
    """Leave out what an optional reference that led nowhere stands for."""
    notes: list[str] = []
    providers, routes = dict(config.providers), dict(config.routes)
    for name, provider in config.providers.items():
        if isinstance(provider.api_key, Missing):
            del providers[name]
            notes.append(f"provider {name} is left out: {provider.api_key.why}")
    for name, route in config.routes.items():
        left = tuple(one for one in route.targets if one.provider in providers)
        if not left:
            del routes[name]
            notes.append(f"route {name} is left out: none of its providers is left")
        elif len(left) < len(route.targets):
            routes[name] = route.model_copy(update={"targets": left})
    keys = []
    for key in config.keys:
        if isinstance(key.sha256, Missing):
            notes.append(f"key {key.id} is left out: {key.sha256.why}")
            continue
        if key.routes is not None:
            allowed = tuple(name for name in key.routes if name in routes)
            key = key.model_copy(update={"routes": allowed})
        keys.append(key)
    update = {"providers": providers, "routes": routes, "keys": tuple(keys)}
    return config.model_copy(update=update), notes


def _oddities(config: Config) -> Iterator[str]:
    """Yield what is allowed and yet likely not meant."""
    if not config.keys:
        yield "there is no key: every request will be answered 401"
    now = datetime.now(UTC)
    for key in config.keys:
        if key.expires_at is not None and key.expires_at <= now:
            yield f"key {key.id} has expired on {key.expires}"
    for name, provider in config.providers.items():
        yield from _odd_credentials(name, provider)
    for name, route in config.routes.items():
        yield from _odd_route(config, name, route)
    targets = {one.name for route in config.routes.values() for one in route.targets}
    for name in config.prices:
        if name not in targets and name.partition("/")[0] in config.providers:
            yield f"the price of {name} is not used: no route has that target"


def _odd_credentials(name: str, provider: Provider) -> Iterator[str]:
    encrypted = provider.base_url.startswith("https://")
    if provider.api_key and not encrypted:
        yield f"provider {name} gets its api_key over http, readable on the way"
    if encrypted and not provider.api_key and provider.preset is None:
        yield f"provider {name} has no api_key: it is asked without a credential"


def _odd_route(config: Config, name: str, route: Route) -> Iterator[str]:
    worst, targets = worst_case(config, route), len(route.targets)
    if worst.attempts < targets:
        yield (
            f"route {name} asks at most {worst.attempts} of its {targets} targets "
            f"per request: max_attempts of policy {route.policy}"
        )
    for target in worst.never_asked:
        yield (
            f"route {name} never asks {target} when all targets before it are silent: "
            "their first_token_s add up to the deadline"
        )
