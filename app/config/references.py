"""References to values that are kept outside gateway.yaml, and how they are resolved.

    {env: NAME}                  an environment variable
    {env: NAME, default: VALUE}  the same, VALUE when it is not set
    {env: NAME, optional: true}  the same, and what needs it is left out when not set
    {file: PATH}                 a file's content; PATH is relative to gateway.yaml

Rule: a secret never stands in gateway.yaml itself, and a resolved one never in a
message or a dump: it is a `SecretStr` from the moment it is read. White space around
a value is dropped, and an empty variable counts as not set: both are accidents of
shells. Which settings may be references is for `models.py` to say.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, SecretStr
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from app.config import formats

_SOURCES = ("env", "file")
_FIELDS = (*_SOURCES, "default", "optional")
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "A reference to a value that is kept elsewhere.",
    "properties": {
        "env": {"type": "string", "description": "Name of an environment variable."},
        "file": {"type": "string", "description": "Path, relative to this file."},
        "default": {"type": "string", "description": "Used when nothing is there."},
        "optional": {"type": "boolean", "description": "Do without it if need be."},
    },
    "oneOf": [{"required": ["env"]}, {"required": ["file"]}],
    "additionalProperties": False,
}


class Missing(SecretStr):
    """Stands for an optional reference that led nowhere; `why` tells where to."""

    def __init__(self, why: str) -> None:
        super().__init__("")
        self.why = why


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where references are looked up: the environment, and the file's folder."""

    environ: Mapping[str, str]
    folder: Path


@dataclass(frozen=True, slots=True)
class FromReference:
    """Marks a setting that may be a reference; its value is masked from then on.

    Args:
        literal: whether the value may also stand in gateway.yaml itself.
        leaves_out: whether what has this setting is left out when an optional
            reference leads nowhere: the value is a `Missing` then.
        otherwise: the value in that case, if nothing is left out.
        check: returns the value as it is kept, or raises a ValueError that says what
            is wrong with it, without quoting it.
    """

    literal: bool = False
    leaves_out: bool = False
    otherwise: SecretStr | None = None
    check: Callable[[str], str] | None = None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate by `_validate` alone; dump masked."""
        return core_schema.with_info_plain_validator_function(
            self._validate, serialization=core_schema.to_string_ser_schema()
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe what may be written in gateway.yaml."""
        return {"anyOf": [{"type": "string"}, _SCHEMA]} if self.literal else _SCHEMA

    def _validate(
        self, value: Any, info: core_schema.ValidationInfo
    ) -> SecretStr | None:
        if isinstance(value, SecretStr):
            return value
        if isinstance(value, Mapping):
            found = self._resolve(value, info.context)
            if isinstance(found, Missing):
                return found if self.leaves_out else self.otherwise
        elif not self.literal:
            raise _wrong("is a secret, and would get into version control", _REFER)
        elif not isinstance(value, str):
            raise _wrong("must be text or a reference", _REFER)
        elif formats.holds_password(value):
            raise _wrong("holds a secret, which must not stand in this file", _REFER)
        else:
            found = value
        return SecretStr(self._checked(found))

    def _resolve(
        self, reference: Mapping[str, Any], surroundings: Surroundings | None
    ) -> str | Missing:
        if not self.literal and "default" in reference:
            what = "is a secret and has no `default`, which would stand in this file"
            raise _wrong(what, "Write `optional: true` to do without it.")
        if formats.holds_password(str(reference.get("default", ""))):
            raise _wrong("`default` holds a secret, which must not stand here", _REFER)
        return resolve(reference, surroundings or Surroundings({}, Path()))

    def _checked(self, value: str) -> str:
        if self.check is None:
            return value
        try:
            return self.check(value)
        except ValueError as exc:
            raise _wrong(str(exc)) from None


def resolve(reference: Mapping[str, Any], surroundings: Surroundings) -> str | Missing:
    """Return what `reference` stands for, or `Missing` if it may be.

    Raises:
        PydanticCustomError: it is malformed, or leads nowhere.
    """
    source = _source_of(reference)
    name = reference[source]
    if source == "env":
        found = surroundings.environ.get(name, "").strip()
        nowhere = f"the environment variable {name} is not set"
    else:
        found = _content(surroundings.folder / name)
        nowhere = f"the file {name} does not exist or is empty"
    if found:
        return found
    if "default" in reference:
        return str(reference["default"])
    if reference.get("optional", False):
        return Missing(nowhere)
    raise _wrong(nowhere, "Provide it, or add `optional: true` to do without.")


def _source_of(reference: Mapping[str, Any]) -> str:
    if "aws_secret" in reference:
        what = "`aws_secret` is not supported by this version"
        raise _wrong(what, _REFER)
    if unknown := [name for name in reference if name not in _FIELDS]:
        raise _wrong(f"a reference has no field `{unknown[0]}`", _SHAPE)
    named = [source for source in _SOURCES if source in reference]
    if len(named) != 1:
        raise _wrong("a reference names one source", _SHAPE)
    for field in (*named, "default"):
        if not isinstance(reference.get(field, "text"), str):
            raise _wrong(f"`{field}` of a reference must be text", _SHAPE)
    if not isinstance(reference.get("optional", False), bool):
        raise _wrong("`optional` of a reference must be true or false", _SHAPE)
    return named[0]


_REFER = "Write {env: NAME} or {file: PATH}."
_SHAPE = "It has `env` or `file`, and perhaps `default` or `optional: true`."


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise _wrong(f"the file {path} cannot be read: {why}", "Mend that.") from None


def _wrong(what: str, fix: str = "") -> PydanticCustomError:
    """Return the error; without `fix` the setting's description says what to do."""
    return PydanticCustomError("reference", "{what}", {"what": what, "fix": fix})
