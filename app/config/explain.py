"""Says what pydantic found in the words of gateway.yaml.

Rule: no message quotes a value that might be secret. What to do is the setting's own
description, so that an error teaches what the documentation says.
"""

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.config.models import Config
from app.config.problems import Finding, nearest
from app.config.settings import Settings
from app.config.source import Location

_LATER = "is not supported by this version"


def explain(error: ValidationError) -> Iterator[Finding]:
    """Yield what `error` holds."""
    for detail in error.errors(include_url=False):
        if _is_echo(detail):
            continue
        location = tuple(part for part in detail["loc"] if part != "[key]")
        what, fix = _said(detail, location)
        yield Finding(location, what, fix)


def _is_echo(detail: ErrorDetails) -> bool:
    """Whether a list is called too short only because items of it are not valid."""
    short = detail["type"] == "too_short"
    return short and len(detail["input"]) >= detail["ctx"]["min_length"]


def _said(detail: ErrorDetails, location: Location) -> tuple[str, str]:
    section, name = section_at(location[:-1]), str(location[-1] if location else "")
    value = detail.get("input")
    kind, meaning = detail["type"], _meaning(section, name)
    if kind == "extra_forbidden":
        if name in section.not_yet:
            return f"{_LATER}, and would do nothing", "Remove it."
        return "there is no such setting", nearest(name, list(section.model_fields))
    if kind == "missing":
        return "is missing", f"Add it. {meaning}".rstrip()
    if kind == "literal_error" and value in section.not_yet:
        return f"`{value}` {_LATER}", meaning
    if value is None:
        return "is empty", "Fill it in or remove it."
    if kind == "reference":
        return detail["msg"], detail["ctx"]["fix"] or meaning
    if kind in ("model_type", "mapping_type", "dict_type"):
        return "must be a section with settings of its own", meaning
    return _without_prefix(detail), meaning


def _without_prefix(detail: ErrorDetails) -> str:
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    if detail["type"] == "string_pattern_mismatch":
        return "must be a plain name: letters, digits, `.`, `_` and `-`"
    message = detail["msg"]
    for lead in ("Input should ", "String should ", "Tuple should ", "Mapping should "):
        if message.startswith(lead):
            return "must " + message.removeprefix(lead)
    return message


def _meaning(section: type[Settings], name: str) -> str:
    field = section.model_fields.get(name)
    return " ".join((field.description or "").split()) if field else ""


def section_at(location: Location) -> type[Settings]:
    """Return the model of the section at `location`, or of the closest around it."""
    section: type[Settings] = Config
    in_container = False
    for part in location:
        if in_container:
            in_container = False
            continue
        field = section.model_fields.get(str(part))
        inner = _model_in(field.annotation) if field else None
        if field is None or inner is None:
            break
        section = inner
        in_container = get_origin(field.annotation) in (tuple, Mapping)
    return section


def _model_in(annotation: Any) -> type[Settings] | None:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    for argument in get_args(annotation):
        if (found := _model_in(argument)) is not None:
            return found
    return None
