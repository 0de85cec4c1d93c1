"""Lua scripts on the store: those asked for at the same time share a round trip.

Rule: one batch is under way at a time; what is asked meanwhile goes with the next. So a
burst costs a few round trips instead of one each, and needs no further connections. A
script is sent by its digest, and whole only when the store lacks it. Who has waited for
longer than the budget goes without; that alone says nothing about the store.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from app.errors import StoreUnavailable

_MAX_BATCH = 128

type Command = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Runs something on the store within its budget, or raises `StoreUnavailable`."""


@dataclass(slots=True, eq=False)
class _Asked:
    script: "Script"
    keys: Sequence[str]
    args: Sequence[int]
    answer: asyncio.Future[Any]


class ScriptRunner:
    """Runs scripts for whoever asks. `timeout_s` is how long anybody waits."""

    def __init__(self, client: Redis, command: Command, timeout_s: float) -> None:
        self._client = client
        self._command = command
        self._timeout_s = timeout_s
        self._asked: list[_Asked] = []
        self._sender: asyncio.Task[None] | None = None

    async def run(
        self, script: "Script", keys: Sequence[str], args: Sequence[int]
    ) -> Any:
        """Return the script's answer.

        Raises:
            StoreUnavailable: there was none in time, or it is an error.
        """
        answer = asyncio.get_running_loop().create_future()
        self._asked.append(_Asked(script, keys, args, answer))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all())
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except TimeoutError:
            raise StoreUnavailable(detail="no answer in time") from None

    async def close(self) -> None:
        """Stop, and refuse whoever still waits."""
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.cancel()
            await asyncio.wait((sender,))
        _refuse(self._asked, "the store is closed")
        self._asked.clear()

    async def _send_all(self) -> None:
        batch: list[_Asked] = []
        try:
            while self._asked:
                batch, self._asked = (
                    self._asked[:_MAX_BATCH],
                    self._asked[_MAX_BATCH:],
                )
                batch = [one for one in batch if not one.answer.done()]
                if batch:
                    await self._send(batch)
        finally:
            self._sender = None
            _refuse(batch, "no answer")  # unless they have theirs

    async def _send(self, batch: Sequence[_Asked]) -> None:
        try:
            answers = await self._command(partial(self._ask, batch))
        except StoreUnavailable as exc:
            _refuse(batch, exc.detail)
            return
        for one, answer in zip(batch, answers, strict=True):
            if isinstance(answer, RedisError):
                _refuse((one,), f"{type(answer).__name__}: {answer}")
            elif not one.answer.done():
                one.answer.set_result(answer)

    async def _ask(self, batch: Sequence[_Asked]) -> list[Any]:
        answers = await self._evaluate(batch)
        lacking = {
            one.script
            for one, answer in zip(batch, answers, strict=True)
            if isinstance(answer, NoScriptError)
        }
        if not lacking:
            return answers
        for script in lacking:
            await self._client.script_load(script.source)
        again = iter(
            await self._evaluate([one for one in batch if one.script in lacking])
        )
        return [
            next(again) if one.script in lacking else answer
            for one, answer in zip(batch, answers, strict=True)
        ]

    async def _evaluate(self, batch: Sequence[_Asked]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for one in batch:
                pipeline.evalsha(one.script.sha, len(one.keys), *one.keys, *one.args)
            return await pipeline.execute(raise_on_error=False)


def _refuse(asked: Iterable[_Asked], detail: str | None) -> None:
    """Tell those who still wait, each by an error of its own."""
    for one in asked:
        if not one.answer.done():
            one.answer.set_exception(StoreUnavailable(detail=detail))


class Script:
    """One script, ready to run."""

    def __init__(self, runner: ScriptRunner, source: str) -> None:
        self._runner = runner
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[str], args: Sequence[int]) -> Any:
        """Run it with `keys` and `args`.

        Raises:
            StoreUnavailable: no answer in time.
        """
        return await self._runner.run(self, keys, args)
