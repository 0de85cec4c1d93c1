"""Judges one answer: every token there, once, in order, and an honest end.

A stand-in numbers its tokens, so a lost, repeated or foreign one is seen. The rule:
an answer is *answered* only if it is whole; *broken* only if it is a stream that says
so by its typed error event; anything else is *failed*. No I/O here.
"""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import zip_longest
from typing import Any

from loadtest.provider.answers import words

TOKENS = 20
BROKEN_CODE = "stream_broken"
_DONE = "[DONE]"


class Ending(StrEnum):
    """How a request ended, for the one who asked."""

    ANSWERED = "answered"
    BROKEN = "broken"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An ending, and why it is not an answer."""

    ending: Ending
    why: str = ""


ANSWERED = Verdict(Ending.ANSWERED)


def failed(why: str) -> Verdict:
    """Return the verdict on a request that got no answer."""
    return Verdict(Ending.FAILED, why)


@dataclass(slots=True)
class StreamHeard:
    """What a stream said so far."""

    text: list[str] = field(default_factory=list)
    done: bool = False
    error_code: str | None = None
    nonsense: str = ""

    def hear(self, line: str) -> None:
        """Take in one line of the event stream."""
        if not line.startswith("data: "):
            return
        data = line[len("data: ") :]
        if self.done or self.error_code is not None:
            self.nonsense = "an event came after the last one"
        elif data == _DONE:
            self.done = True
        else:
            self._event(data)

    def _event(self, data: str) -> None:
        try:
            event = json.loads(data)
            if "error" in event:
                self.error_code = str(event["error"]["code"])
            elif event["choices"]:
                self.text.append(event["choices"][0]["delta"].get("content") or "")
        except (ValueError, LookupError, TypeError, AttributeError) as exc:
            self.nonsense = f"an event makes no sense: {exc!r}"

    def verdict(self, provider: str) -> Verdict:
        """Judge the stream of `provider`, now that it has ended."""
        if self.nonsense:
            return failed(self.nonsense)
        said = "".join(self.text)
        wrong = misspoken(said, provider, whole=self.done)
        if wrong:
            return failed(wrong)
        if self.error_code == BROKEN_CODE:
            return Verdict(Ending.BROKEN, f"broke after {len(said.split())} tokens")
        if self.error_code is not None:
            return failed(f"the stream ended with {self.error_code}")
        return ANSWERED if self.done else failed("the stream ended without [DONE]")


def judge_plain(body: bytes, provider: str) -> Verdict:
    """Judge a plain answer of `provider` with status 200."""
    try:
        said: Any = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return failed("the answer makes no sense")
    wrong = misspoken(str(said), provider, whole=True)
    return failed(wrong) if wrong else ANSWERED


def misspoken(said: str, provider: str, *, whole: bool) -> str:
    """Say what is wrong with the tokens of an answer; nothing if all is well.

    A broken answer (not `whole`) may lack tokens at its end, and nowhere else.
    """
    expected = "".join(words(provider, TOKENS))
    if said == expected or (not whole and expected.startswith(said)):
        return ""
    pairs = zip_longest(said.split(), expected.split())
    for at, (got, wanted) in enumerate(pairs):
        if got != wanted:
            return f"token {at} is {got or 'missing'}, not {wanted or 'the end'}"
    return "the spaces between the tokens are wrong"
