"""The scripts of a streamed answer: the normal one, and one for each fault.

Each event travels as its own chunk; the player joins what is due at the same time.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, repeat

from loadtest.provider.dialects import Frames
from loadtest.provider.faults import Fault
from loadtest.provider.script import (
    EVENT_STREAM,
    LAST_CHUNK,
    Ending,
    Pace,
    Script,
    Step,
    chunk,
    head,
)

_PROMISED_TOO_MUCH_BYTES = 512


@dataclass(frozen=True, slots=True)
class Stream:
    """A streamed answer as its parts; `pace` says when they are sent."""

    frames: Frames
    pace: Pace
    headers: tuple[tuple[str, str], ...]
    keepalive: bytes
    malformed: bytes
    error: Callable[[str | None], bytes]  # an error event with that code

    def head(self) -> bytes:
        """Status line and headers."""
        declared = (
            ("content-type", EVENT_STREAM),
            ("cache-control", "no-cache"),
            ("transfer-encoding", "chunked"),
            *self.headers,
        )
        return head(200, declared)

    def opening(self) -> Iterator[Step]:
        """Headers and the first event, withheld until the first token is due."""
        yield Step(self.pace.first_token_s, self.head())
        yield from self.event(self.frames.opening)

    def tokens(self, first: int = 0, until: int | None = None) -> Iterator[Step]:
        """Events of the tokens from `first` up to, without, `until`."""
        for at, event in enumerate(self.frames.tokens[first:until], first):
            # The first token comes with the opening, which has waited already.
            yield Step(self.pace.per_token_s if at else 0.0, chunk(event), 1)

    def event(self, data: bytes) -> Iterator[Step]:
        """One more event, at once; none when there is nothing to send."""
        if data:
            yield Step(0.0, chunk(data))

    def tail(self) -> Iterator[Step]:
        """Finish reason, usage, end sentinel, last chunk."""
        yield from self.event(self.frames.finish)
        yield from self.event(self.frames.usage)
        yield from self.event(self.frames.done)
        yield Step(0.0, LAST_CHUNK)

    def upto(self, count: int) -> Iterator[Step]:
        """The answer's beginning, with `count` whole tokens."""
        return chain(self.opening(), self.tokens(until=count))

    def normal(self) -> Script:
        """The answer without a fault."""
        return Script(200, chain(self.opening(), self.tokens(), self.tail()))


def _slow_headers(stream: Stream, fault: Fault) -> Script:
    late = Step(fault.number("delay_s"), stream.head())
    first = stream.event(stream.frames.opening)
    return Script(200, chain((late,), first, stream.tokens(), stream.tail()))


def _slow_first_token(stream: Stream, fault: Fault) -> Script:
    start = Step(0.0, stream.head())
    late = Step(fault.number("delay_s"), b"")
    first = stream.event(stream.frames.opening)
    return Script(200, chain((start, late), first, stream.tokens(), stream.tail()))


def _reset_mid_body(stream: Stream, fault: Fault) -> Script:
    events = stream.frames.tokens or [stream.frames.finish]
    middle = len(events) // 2
    torn = chunk(events[middle])
    torn = torn[: len(torn) // 2]
    return Script(200, chain(stream.upto(middle), (Step(0.0, torn),)), Ending.RESET)


def _cut(stream: Stream, fault: Fault) -> Script:
    ending = Ending.RESET if fault.params["how"] == "reset" else Ending.CLOSE
    return Script(200, stream.upto(fault.count("after_tokens")), ending)


def _truncate(stream: Stream, fault: Fault) -> Script:
    last = stream.frames.finish
    promise = b"%x\r\n%b" % (len(last) + _PROMISED_TOO_MUCH_BYTES, last)
    steps = chain(stream.opening(), stream.tokens(), (Step(0.0, promise),))
    return Script(200, steps, Ending.CLOSE)


def _stall(stream: Stream, fault: Fault) -> Script:
    return Script(200, stream.upto(fault.count("after_tokens")), Ending.HANG)


def _malformed(stream: Stream, fault: Fault) -> Script:
    after = fault.count("after_tokens")
    broken = stream.event(stream.malformed)
    rest = chain(stream.tokens(first=after), stream.tail())
    return Script(200, chain(stream.upto(after), broken, rest))


def _no_done(stream: Stream, fault: Fault) -> Script:
    finish = stream.event(stream.frames.finish + stream.frames.usage)
    last = (Step(0.0, LAST_CHUNK),)
    return Script(200, chain(stream.opening(), stream.tokens(), finish, last))


def _no_finish(stream: Stream, fault: Fault) -> Script:
    last = (Step(0.0, LAST_CHUNK),)
    return Script(200, chain(stream.opening(), stream.tokens(), last))


def _error_frame(stream: Stream, fault: Fault) -> Script:
    code = fault.params.get("error_code")
    error = stream.error(None if code is None else str(code))
    done = stream.frames.done if fault.params["done"] else b""
    steps = chain(
        stream.upto(fault.count("after_tokens")),
        stream.event(error),
        stream.event(done),
        (Step(0.0, LAST_CHUNK),),
    )
    return Script(200, steps)


def _keepalives(stream: Stream, fault: Fault) -> Script:
    start = Step(0.0, stream.head() + chunk(stream.keepalive))
    comment = Step(fault.number("interval_s"), chunk(stream.keepalive))
    return Script(200, chain((start,), repeat(comment)), Ending.HANG)


def _role_only(stream: Stream, fault: Fault) -> Script:
    return Script(200, stream.opening(), Ending.HANG)


def _dribble(stream: Stream, fault: Fault) -> Script:
    pace = replace(stream.pace, per_token_s=fault.number("interval_s"))
    return replace(stream, pace=pace).normal()


def _as_altered(stream: Stream, fault: Fault) -> Script:
    """The content itself is the fault: see `answers.altered`."""
    return stream.normal()


SCRIPTS: Mapping[str, Callable[[Stream, Fault], Script]] = {
    "slow_headers": _slow_headers,
    "slow_first_token": _slow_first_token,
    "reset_mid_body": _reset_mid_body,
    "cut": _cut,
    "truncate": _truncate,
    "stall": _stall,
    "malformed": _malformed,
    "no_done": _no_done,
    "no_finish": _no_finish,
    "error_frame": _error_frame,
    "keepalives": _keepalives,
    "role_only": _role_only,
    "dribble": _dribble,
    "empty": _as_altered,
    "huge": _as_altered,
}
