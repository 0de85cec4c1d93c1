"""What an attempt holds (slots, permits, open responses), and its release.

Rule: released newest first, exactly once, each told the error that ended the attempt
and none able to hide or replace it: a lease that fails to release is logged, and the
rest are released all the same. Method names are those of `contextlib.AsyncExitStack`,
whose rules differ in just this: there, a failing exit changes what the others see.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    suppress,
)
from types import TracebackType
from typing import Any

_log = logging.getLogger("resilience")

type _Exit = Callable[
    [type[BaseException] | None, BaseException | None, TracebackType | None], object
]
type _AsyncExit = Callable[
    [type[BaseException] | None, BaseException | None, TracebackType | None],
    Awaitable[object],
]


class Leases:
    """A stack of leases, not yet released."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[_Lease] = []

    def __len__(self) -> int:
        """How many leases are held; those adopted together count as one."""
        return len(self._held)

    def push(self, lease: AbstractContextManager[object] | _Exit) -> None:
        """Hold what is released by `lease.__exit__`, or by calling `lease` so."""
        # Not isinstance: that costs more for these abstract classes than the rest.
        leave: Any = getattr(lease, "__exit__", lease)
        self._held.append(leave)

    def push_async_exit(
        self, lease: AbstractAsyncContextManager[object] | _AsyncExit
    ) -> None:
        """Hold what is released by `lease.__aexit__`, or by awaiting `lease` so."""
        leave: Any = getattr(lease, "__aexit__", lease)
        self._held.append(_Async(leave))

    def callback(self, release: Callable[..., object], /, *args: object) -> None:
        """Hold what is released by calling `release(*args)`."""
        self._held.append(lambda *_: release(*args))

    def push_async_callback(
        self, release: Callable[..., Awaitable[object]], /, *args: object
    ) -> None:
        """Hold what is released by awaiting `release(*args)`."""
        self._held.append(_Async(lambda *_: release(*args)))

    async def enter_async_context[T](self, lease: AbstractAsyncContextManager[T]) -> T:
        """Enter `lease`, hold it, and return what it gives."""
        given = await lease.__aenter__()
        self.push_async_exit(lease)
        return given

    def adopt(self, other: "Leases") -> None:
        """Hold what `other` holds, now and later."""
        self._held.append(other)

    async def release(
        self, exc: BaseException | None = None, *, above: int = 0
    ) -> None:
        """Release everything, or what was held after the first `above`.

        Only the first call has anything to do.
        Shielded: a cancellation that arrives meanwhile is delivered afterwards.
        Without leases that need to wait, there is no task switch.
        """
        held = self._take(above)
        waiting = _release_until_async(held, exc)
        if waiting is None:
            return
        # Eager, so that a lease which does not in fact wait costs no task switch.
        rest = asyncio.Task(
            _release_all(waiting, held, exc),
            loop=asyncio.get_running_loop(),
            eager_start=True,
        )
        if not rest.done():
            await _undisturbed(rest)
        rest.result()

    def _take(self, above: int = 0) -> "list[_Lease]":
        held = self._held
        if above:
            self._held, held = held[:above], held[above:]
        else:
            self._held = []
        return held


class _Async:
    __slots__ = ("leave",)

    def __init__(self, leave: _AsyncExit) -> None:
        self.leave = leave


type _Lease = _Exit | _Async | Leases


def _release_until_async(
    held: list[_Lease], exc: BaseException | None
) -> _Async | None:
    """Release from the end of `held`; stop at, and return, one that must be awaited."""
    kind = None if exc is None else type(exc)
    trace = None if exc is None else exc.__traceback__
    while held:
        lease = held.pop()
        if isinstance(lease, Leases):
            held.extend(lease._take())
        elif isinstance(lease, _Async):
            return lease
        else:
            try:
                lease(kind, exc, trace)
            except Exception:  # must not replace the error that ended the call
                _log.exception("a lease failed to release")
    return None


async def _release_all(
    first: _Async, held: list[_Lease], exc: BaseException | None
) -> None:
    kind = None if exc is None else type(exc)
    trace = None if exc is None else exc.__traceback__
    lease: _Async | None = first
    while lease is not None:
        try:
            await lease.leave(kind, exc, trace)
        except (Exception, asyncio.CancelledError):
            # Nobody cancels this task but the loop's shutdown: the rest comes first.
            _log.exception("a lease failed to release")
        lease = _release_until_async(held, exc)


async def _undisturbed(task: asyncio.Task[None]) -> None:
    """Wait for `task` to the end, however often the waiter is cancelled meanwhile."""
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((task,))
        raise
