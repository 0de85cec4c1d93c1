"""What is asked, what is answered: neutral to the dialect and to the wire.

An answer is a pure function of the stand-in's settings and the request: the same
body gets the same words. Word `i` of stand-in `alpha` is `alpha-i`, so that a reader
sees who answered and a test sees a lost, repeated or foreign token. No JSON, no
bytes of a protocol and no sockets here.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

from loadtest.provider.faults import Fault


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer. A dialect fills what is None with the provider's own words."""

    status: int
    message: str | None = None
    code: str | None = None
    kind: str | None = None
    param: str | None = None
    retry_after_s: float | None = None


class Refused(Exception):
    """A request that the stand-in does not accept; carries the error answer."""

    def __init__(self, refusal: Refusal) -> None:
        """Keep `refusal` for the dialect to render."""
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, as far as a scripted answer depends on it."""

    model: str
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    prompt_tokens: int = 0
    inputs: tuple[str, ...] = ()
    dimensions: int = 16
    as_base64: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A scripted answer; `finish` is None where the fault withholds it."""

    ask: Ask
    serial: int
    created_s: int
    owner: str
    words: tuple[str, ...]
    finish: str | None

    @property
    def text(self) -> str:
        """The words as one text."""
        return "".join(self.words)


@lru_cache(maxsize=256)
def words(name: str, count: int) -> tuple[str, ...]:
    """`count` tokens of the stand-in `name`; all but the first begin with a space."""
    return tuple(f"{' ' if i else ''}{name}-{i}" for i in range(count))


def answer(ask: Ask, name: str, tokens: int, serial: int, created_s: int) -> Answer:
    """The answer to `ask`: `tokens` words, fewer when `max_tokens` says so.

    An ask with `inputs` is for something other than words and gets none.
    """
    count, finish = 0 if ask.inputs else tokens, "stop"
    if ask.max_tokens is not None and ask.max_tokens < count:
        count, finish = ask.max_tokens, "length"
    return Answer(ask, serial, created_s, name, words(name, count), finish)


def altered(original: Answer, fault: Fault) -> Answer:
    """The answer as `fault` changes its content; most faults do not."""
    match fault.kind:
        case "empty":
            bare = replace(original.ask, inputs=())
            return replace(original, ask=bare, words=(), finish="stop")
        case "no_finish":
            return replace(original, finish=None)
        case "huge":
            return _swollen(original, fault.count("size_bytes"))
        case _:
            return original


def _swollen(original: Answer, size_bytes: int) -> Answer:
    if original.ask.inputs:
        wide = replace(original.ask, dimensions=size_bytes // 4)
        return replace(original, ask=wide)
    # The second token where there is one: the first is what opens a reply.
    at = min(1, len(original.words) - 1)
    changed = list(original.words)
    changed[at] += "x" * size_bytes
    return replace(original, words=tuple(changed))
