"""Says what pydantic found in the words of gateway.yaml.

Rule: no message quotes a value that might be secret. What to do is the setting's own
description, so that an error teaches what the documentation says.
"""

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
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
    section, name = _section_at(location[:-1]), str(location[-1] if location else "")
    value = detail.get("input")
    kind, meaning = detail["type"], _meaning(location)
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
    return _in_our_words(detail), meaning


def _in_our_words(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "value_error":
            return str(detail["ctx"]["error"])
        case "string_pattern_mismatch":
            return "must be a plain name: letters, digits, `.`, `_` and `-`"
        case "too_short":
            return "must not be empty"
    return "must " + detail["msg"].partition(" should ")[2]


def _meaning(location: Location) -> str:
    """Return the description of the innermost setting that `location` leads through."""
    description = ""
    for field in _fields(location):
        description = " ".join((field.description or "").split())
    return description


def _section_at(location: Location) -> type[Settings]:
    """Return the model of the section at `location`."""
    section: type[Settings] = Config
    for field in _fields(location):
        section = _model_in(field.annotation) or section
    return section


def _fields(location: Location) -> Iterator[FieldInfo]:
    """Yield the settings that `location` leads through, in order."""
    section: type[Settings] = Config
    in_container = False
    for part in location:
        if in_container:
            in_container = False
            continue
        field = section.model_fields.get(str(part))
        if field is None:
            return
        yield field
        section = _model_in(field.annotation) or section
        in_container = get_origin(field.annotation) in (tuple, Mapping)


def _model_in(annotation: Any) -> type[Settings] | None:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    for argument in get_args(annotation):
        if (found := _model_in(argument)) is not None:
            return found
    return None
