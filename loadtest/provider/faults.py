"""Faults as data: every kind, its parameters, and what a client sees of it.

`KINDS` is the one table: validation, `--help` and the error bodies are read from
it, and `streamed.py` and `plain.py` hold exactly one script for each row. What a
fault does to the bytes must not live here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

type Value = bool | int | float | str

MODEL_PREFIX = "fault."


class InvalidFault(ValueError):
    """A kind or parameter that does not exist, or a value out of its range."""

    def __init__(self, message: str, valid: list[str]) -> None:
        """Say what is wrong and keep `valid`, the names that would have been."""
        super().__init__(f"{message}; valid: {', '.join(valid)}")
        self.valid = valid


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter; its type is that of its default (`None` stands for unset)."""

    name: str
    default: Value | None
    kind: type[bool] | type[int] | type[float] | type[str]
    least: float = 0.0
    most: float = float("inf")
    choices: tuple[str, ...] = ()

    def read(self, raw: object) -> Value:
        """The value of `raw`, from a model name (text) or from JSON.

        Raises:
            InvalidFault: it is of the wrong type or out of range.
        """
        if self.kind is bool:
            return self._flag(raw)
        if self.kind is str:
            return self._word(raw)
        return self._number(raw)

    def describe(self) -> str:
        """`name=default`, for a table."""
        return self.name if self.default is None else f"{self.name}={self.default}"

    def _flag(self, raw: object) -> bool:
        word = str(raw).lower()
        if word not in ("true", "false", "1", "0"):
            raise InvalidFault(f"{self.name}: {raw!r} is no flag", ["true", "false"])
        return word in ("true", "1")

    def _word(self, raw: object) -> str:
        if not isinstance(raw, str) or (self.choices and raw not in self.choices):
            valid = list(self.choices) or ["any text"]
            raise InvalidFault(f"{self.name}: {raw!r} is not accepted", valid)
        return raw

    def _number(self, raw: object) -> float | int:
        valid = [f"{self.kind.__name__} from {self.least:g} to {self.most:g}"]
        try:
            if isinstance(raw, bool) or not isinstance(raw, int | float | str):
                raise TypeError
            number = int(raw) if self.kind is int else float(raw)
            if not self.least <= number <= self.most:  # false for NaN as well
                raise ValueError
            if isinstance(raw, float) and number != raw:
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            message = f"{self.name}: {raw!r} is not accepted"
            raise InvalidFault(message, valid) from None
        return number


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table: parameters, and what either form of answer shows."""

    name: str
    params: tuple[Param, ...]
    stream: str
    plain: str


_HOUR_S = 3600.0
_AFTER = Param("after_tokens", 3, int)
_DELAY = Param("delay_s", 5.0, float, most=_HOUR_S)
_CODE = Param("code", 503, int, least=400, most=599)
_RETRY_AFTER = Param("retry_after_s", None, float, most=_HOUR_S)
_ERROR_CODE = Param("error_code", None, str)
_CUT = Param("how", "reset", str, choices=("reset", "fin"))
_LABEL = Param("how", "html", str, choices=("html", "mislabelled"))
_SIZE = Param("size_bytes", 4 * 2**20, int, least=1, most=256 * 2**20)
_SAME = "the same"


def _interval(default_s: float) -> Param:
    # Never zero: an endless script without a pause would hold the loop.
    return Param("interval_s", default_s, float, least=0.001, most=_HOUR_S)


_ROWS = (
    Kind(
        "status",
        (_CODE, _RETRY_AFTER, _ERROR_CODE),
        "an error answer with the status `code`, the provider's own error body, and "
        "Retry-After when given",
        _SAME,
    ),
    Kind("context_length", (), "400, code context_length_exceeded", _SAME),
    Kind("content_filter", (), "400, code content_filter", _SAME),
    Kind("reset", (), "TCP RST before any header", _SAME),
    Kind("close", (), "clean FIN before any header", _SAME),
    Kind("silence", (), "the request is read and never answered", _SAME),
    Kind("slow_headers", (_DELAY,), "nothing for delay_s, then the answer", _SAME),
    Kind(
        "slow_first_token",
        (_DELAY,),
        "headers at once, nothing for delay_s, then the answer",
        _SAME,
    ),
    Kind(
        "garbled",
        (_LABEL,),
        "200 with an HTML page (`mislabelled`: declared as an event stream)",
        "200 with an HTML page (`mislabelled`: declared as JSON)",
    ),
    Kind(
        "reset_mid_body",
        (),
        "headers, some tokens, half of an event, then TCP RST",
        "headers, half of the body, then TCP RST",
    ),
    Kind(
        "cut",
        (_AFTER, _CUT),
        "after_tokens whole tokens, then RST or a FIN without the last chunk",
        "that share of the body, then RST or FIN before its declared length",
    ),
    Kind(
        "truncate",
        (),
        "all but the last chunk, which declares more bytes than come, then FIN",
        "content-length larger than the body, then FIN",
    ),
    Kind(
        "stall",
        (_AFTER,),
        "after_tokens tokens, then nothing; the connection stays open",
        "that share of the body, then nothing; the connection stays open",
    ),
    Kind(
        "malformed",
        (_AFTER,),
        "one event that is no JSON after after_tokens tokens, then it goes on",
        "a complete body that is broken JSON",
    ),
    Kind(
        "no_done",
        (),
        "finish_reason is sent, the end sentinel is not; clean end",
        "a whole body without declared length; closing the connection ends it",
    ),
    Kind(
        "no_finish",
        (),
        "neither finish_reason nor the end sentinel; clean end",
        "finish_reason is null",
    ),
    Kind(
        "error_frame",
        (_AFTER, _ERROR_CODE, Param("done", False, bool)),
        "an error event after after_tokens tokens inside the 200, then the end "
        "(`done`: with the sentinel)",
        "200 whose body is an error object",
    ),
    Kind(
        "keepalives",
        (_interval(0.5),),
        "headers, then only comments, one each interval_s",
        "headers, then only white space, one each interval_s",
    ),
    Kind(
        "role_only",
        (),
        "headers and the role-only first event, then nothing",
        "headers and the body's first byte, then nothing",
    ),
    Kind(
        "dribble",
        (_interval(1.0),),
        "one token each interval_s, to the end",
        "the body in one piece per token, one each interval_s",
    ),
    Kind("empty", (), "no content at all, finish_reason stop", "empty content"),
    Kind(
        "huge",
        (_SIZE,),
        "one token of size_bytes among the others",
        "the content is longer by size_bytes",
    ),
)
KINDS: Mapping[str, Kind] = {row.name: row for row in _ROWS}


@dataclass(frozen=True, slots=True, init=False)
class Fault:
    """One fault, complete: parameters that were not given have their default.

    `times` limits it to the next so many requests; `None` means until cleared.
    """

    kind: str
    params: Mapping[str, Value]
    times: int | None

    def __init__(self, kind: str, *, times: int | None = None, **given: Value) -> None:
        """Check `given` against the row of `kind`.

        Raises:
            InvalidFault: unknown kind or parameter, or a value out of range.
        """
        row = KINDS.get(kind)
        if row is None:
            raise InvalidFault(f"unknown fault {kind!r}", list(KINDS))
        known = {param.name: param for param in row.params}
        for name in given:
            if name not in known:
                valid = [*known, "times"]
                raise InvalidFault(f"{kind} has no parameter {name!r}", valid)
        if times is not None:
            times = int(_TIMES.read(times))
        params = {p.name: p.default for p in row.params if p.default is not None}
        params |= {name: known[name].read(raw) for name, raw in given.items()}
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "params", params)
        object.__setattr__(self, "times", times)

    def number(self, name: str) -> float:
        """The numeric parameter `name`."""
        return float(self.params[name])

    def count(self, name: str) -> int:
        """The whole-number parameter `name`."""
        return int(self.params[name])

    def as_dict(self) -> dict[str, Value]:
        """The form that the control endpoint takes and shows."""
        shown: dict[str, Value] = {"kind": self.kind, **self.params}
        if self.times is not None:
            shown["times"] = self.times
        return shown


_TIMES = Param("times", None, int, least=1)


def fault_from_json(document: object) -> Fault:
    """The fault that a control request describes: `{"kind": …, param: value, …}`.

    Raises:
        InvalidFault: it is no such object, or names nothing that exists.
    """
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        raise InvalidFault('expected {"kind": …}', list(KINDS))
    return Fault(**document)


@lru_cache(maxsize=1024)
def fault_from_model(model: str) -> Fault | None:
    """The fault that a model name asks for: `fault.cut?after_tokens=5&how=fin`.

    Raises:
        InvalidFault: the name starts with `fault.` and names nothing that exists.
    """
    if not model.startswith(MODEL_PREFIX):
        return None
    kind, _, query = model.removeprefix(MODEL_PREFIX).partition("?")
    given: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    # `times` counts requests to all models: it belongs to the control endpoint.
    for name in given.keys() & {"kind", "times"}:
        valid = [param.name for row in KINDS.values() for param in row.params]
        raise InvalidFault(f"{name!r} is no parameter here", sorted({*valid}))
    return Fault(kind, **given)


class FaultSwitch:
    """The live fault: set, cleared, and used up by `times`."""

    def __init__(self) -> None:
        """Start without a fault."""
        self._fault: Fault | None = None
        self._left: int | None = None

    @property
    def current(self) -> Fault | None:
        """The fault that the next request would meet."""
        return self._fault

    def set(self, fault: Fault | None) -> None:
        """Replace the fault and start counting its `times` anew."""
        self._fault = fault
        self._left = None if fault is None else fault.times

    def take(self) -> Fault | None:
        """The fault for a request that has just arrived; counts it."""
        fault = self._fault
        if fault is not None and self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self._fault = None
        return fault


def table() -> str:
    """Every kind with its parameters and meaning, as text for a terminal."""
    lines = []
    for row in KINDS.values():
        params = "  ".join(param.describe() for param in row.params)
        lines.append(f"  {row.name}  {params}".rstrip())
        lines.append(f"      stream: {row.stream}")
        if row.plain != _SAME:
            lines.append(f"      plain:  {row.plain}")
    return "\n".join(lines)
