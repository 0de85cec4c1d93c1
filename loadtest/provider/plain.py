"""The scripts of a plain answer: the normal one, and one for each fault.

A body has no tokens on the wire; "after n tokens" is that share of its bytes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat

from loadtest.provider.faults import Fault
from loadtest.provider.script import (
    JSON,
    Ending,
    Pace,
    Script,
    Step,
    chunk,
    head,
    sized,
)

_PROMISED_TOO_MUCH_BYTES = 512


@dataclass(frozen=True, slots=True)
class Plain:
    """A plain answer: its body, how many tokens it stands for, and its headers."""

    body: bytes
    tokens: int
    pace: Pace
    headers: tuple[tuple[str, str], ...]
    error: Callable[[str | None], bytes]  # an error body with that code

    @property
    def ready_after_s(self) -> float:
        """When the whole body is there, as the model takes time for each token."""
        gaps = max(self.tokens - 1, 0)
        return self.pace.first_token_s + gaps * self.pace.per_token_s

    def head(self, *framing: tuple[str, str]) -> bytes:
        """Status line and headers, with these for the body's length."""
        return head(200, (("content-type", JSON), *framing, *self.headers))

    def sized_head(self, more_bytes: int = 0) -> bytes:
        """Headers with the body's length, or a length that is `more_bytes` off."""
        return self.head(("content-length", str(len(self.body) + more_bytes)))

    def upto(self, count: int) -> bytes:
        """The share of the body for `count` tokens: never all of it."""
        if not self.tokens:  # embeddings, models
            return self.body[: len(self.body) // 2]
        share = len(self.body) * count // self.tokens
        return self.body[: min(share, len(self.body) - 1)]

    def after(self, delay_s: float, data: bytes) -> tuple[Step]:
        """All of it in one step."""
        return (Step(delay_s, data, self.tokens),)

    def normal(self) -> Script:
        """The answer without a fault."""
        whole = sized(200, self.body, self.headers)
        return Script(200, self.after(self.ready_after_s, whole))

    def broken_off(self, count: int) -> Iterator[Step]:
        """Headers and the share of the body for `count` tokens."""
        sent = min(count, self.tokens)
        yield Step(self.pace.first_token_s, self.sized_head() + self.upto(count), sent)


def _slow_headers(plain: Plain, fault: Fault) -> Script:
    whole = sized(200, plain.body, plain.headers)
    return Script(200, plain.after(fault.number("delay_s"), whole))


def _slow_first_token(plain: Plain, fault: Fault) -> Script:
    start = Step(0.0, plain.sized_head())
    late = plain.after(fault.number("delay_s"), plain.body)
    return Script(200, chain((start,), late))


def _reset_mid_body(plain: Plain, fault: Fault) -> Script:
    half = plain.body[: len(plain.body) // 2]
    step = Step(plain.pace.first_token_s, plain.sized_head() + half)
    return Script(200, (step,), Ending.RESET)


def _cut(plain: Plain, fault: Fault) -> Script:
    ending = Ending.RESET if fault.params["how"] == "reset" else Ending.CLOSE
    return Script(200, plain.broken_off(fault.count("after_tokens")), ending)


def _truncate(plain: Plain, fault: Fault) -> Script:
    start = plain.sized_head(more_bytes=_PROMISED_TOO_MUCH_BYTES)
    steps = plain.after(plain.ready_after_s, start + plain.body)
    return Script(200, steps, Ending.CLOSE)


def _stall(plain: Plain, fault: Fault) -> Script:
    return Script(200, plain.broken_off(fault.count("after_tokens")), Ending.HANG)


def _malformed(plain: Plain, fault: Fault) -> Script:
    broken = plain.upto(fault.count("after_tokens"))
    whole = sized(200, broken, plain.headers)
    return Script(200, plain.after(plain.ready_after_s, whole))


def _no_done(plain: Plain, fault: Fault) -> Script:
    whole = plain.head(("connection", "close")) + plain.body
    return Script(200, plain.after(plain.ready_after_s, whole), Ending.CLOSE)


def _error_frame(plain: Plain, fault: Fault) -> Script:
    code = fault.params.get("error_code")
    body = plain.error(None if code is None else str(code))
    whole = sized(200, body, plain.headers)
    return Script(200, (Step(plain.pace.first_token_s, whole),))


def _keepalives(plain: Plain, fault: Fault) -> Script:
    start = Step(0.0, plain.head(("transfer-encoding", "chunked")) + chunk(b" "))
    space = Step(fault.number("interval_s"), chunk(b" "))
    return Script(200, chain((start,), repeat(space)), Ending.HANG)


def _role_only(plain: Plain, fault: Fault) -> Script:
    start = plain.sized_head() + plain.body[:1]
    return Script(200, (Step(plain.pace.first_token_s, start),), Ending.HANG)


def _dribble(plain: Plain, fault: Fault) -> Script:
    return Script(200, _pieces(plain, fault.number("interval_s")))


def _pieces(plain: Plain, interval_s: float) -> Iterator[Step]:
    yield Step(plain.pace.first_token_s, plain.sized_head())
    count = max(plain.tokens, 1)
    length = len(plain.body)
    for at in range(count):
        piece = plain.body[length * at // count : length * (at + 1) // count]
        yield Step(interval_s if at else 0.0, piece, 1)


def _as_altered(plain: Plain, fault: Fault) -> Script:
    """The content itself is the fault: see `answers.altered`."""
    return plain.normal()


SCRIPTS: Mapping[str, Callable[[Plain, Fault], Script]] = {
    "slow_headers": _slow_headers,
    "slow_first_token": _slow_first_token,
    "reset_mid_body": _reset_mid_body,
    "cut": _cut,
    "truncate": _truncate,
    "stall": _stall,
    "malformed": _malformed,
    "no_done": _no_done,
    "no_finish": _as_altered,
    "error_frame": _error_frame,
    "keepalives": _keepalives,
    "role_only": _role_only,
    "dribble": _dribble,
    "empty": _as_altered,
    "huge": _as_altered,
}
