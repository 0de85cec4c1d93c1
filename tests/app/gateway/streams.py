"""Streams as providers send them: bytes, silences and failures, step by step."""

import asyncio
from collections.abc import Iterable
from typing import Any

import orjson

DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def event(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def chunk(
    content: str | None = None,
    *,
    finish: str | None = None,
    index: int = 0,
    **more: Any,
) -> bytes:
    delta = {} if content is None else {"content": content}
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return event({"id": "c-1", "choices": [choice], **more})


ROLE = event({"id": "c-1", "choices": [{"index": 0, "delta": {"role": "assistant"}}]})
HEL, LO, STOP = chunk("Hel"), chunk("lo"), chunk(finish="stop")
BILL = event({"id": "c-1", "choices": [], "usage": USAGE})
WHOLE = (ROLE, HEL, LO, STOP, BILL, DONE)


class Scripted:
    """A body that does as the script says.

    A step is bytes to hand over, a number of seconds to be silent for, or an exception
    to raise. After the last step the body ends. `read` counts the steps taken, `ended`
    tells that the end was asked for, `closed` that the body was closed.
    """

    def __init__(self, *steps: bytes | float | BaseException) -> None:
        self._steps: Iterable[bytes | float | BaseException] = iter(steps)
        self.read = 0
        self.ended = False
        self.closed = 0

    def __aiter__(self) -> "Scripted":
        return self

    async def __anext__(self) -> bytes:
        for step in self._steps:
            self.read += 1
            if isinstance(step, bytes):
                return step
            if isinstance(step, BaseException):
                raise step
            await asyncio.sleep(step)
        self.ended = True
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1
