"""What one answer does on the wire, step by step, and how it ends.

A `Script` is data: the player in `player.py` is the only code that touches a
socket. Scripts that neither form of answer changes live here; those of a stream are
in `streamed.py`, those of a plain body in `plain.py`. No JSON is made here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import NamedTuple

LAST_CHUNK = b"0\r\n\r\n"
JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"
HTML = "text/html; charset=utf-8"
HTML_PAGE = (
    b"<!doctype html><html><head><title>Just a moment...</title></head>"
    b"<body><h1>Checking your connection</h1></body></html>\n"
)


class Ending(Enum):
    """What happens to the connection after the last step."""

    NEXT = "next"  # the answer is whole; the connection serves the next request
    CLOSE = "close"  # FIN
    RESET = "reset"  # RST
    HANG = "hang"  # stays open and silent until the client goes


class Step(NamedTuple):
    """`data`, sent `after_s` seconds after the step before it."""

    after_s: float
    data: bytes
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Script:
    """One answer; `status` is None when no header is ever sent."""

    status: int | None
    steps: Iterable[Step]
    ending: Ending = Ending.NEXT


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds to the first token, and between one token and the next."""

    first_token_s: float = 0.0
    per_token_s: float = 0.0


def head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """The status line and the headers of an answer, up to its body."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Overloaded" if status == 529 else "Error"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} {phrase}\r\n{lines}\r\n".encode("latin-1")


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of the chunked transfer coding (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def sized(
    status: int,
    body: bytes,
    headers: Iterable[tuple[str, str]] = (),
    content_type: str = JSON,
) -> bytes:
    """A whole answer with a content-length."""
    declared = (
        ("content-type", content_type),
        ("content-length", str(len(body))),
        *headers,
    )
    return head(status, declared) + body


def whole(status: int, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> Script:
    """A JSON answer sent at once."""
    return Script(status, (Step(0.0, sized(status, body, headers)),))


RESET_AT_ONCE = Script(None, (), Ending.RESET)
CLOSE_AT_ONCE = Script(None, (), Ending.CLOSE)
SILENCE = Script(None, (), Ending.HANG)
