"""For tests of whatever uses the library: virtual time and scripted operations.

Rule: nothing here sleeps for real. `ManualClock` drives code that only reads the
time; `VirtualTimeLoop` runs whole coroutines, time-outs and sleeps included, jumping
to the next timer whenever nothing else is left to do.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

from resilience.call import Call


class ManualClock:
    """A clock that moves when told to."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self._now_s = now_s

    def now(self) -> float:
        """Return the reading, in seconds."""
        return self._now_s

    def advance(self, by_s: float) -> None:
        """Let `by_s` seconds pass."""
        self._now_s += by_s

    async def sleep(self, delay_s: float) -> None:
        """Let `delay_s` seconds pass at once."""
        self.advance(delay_s)
        await asyncio.sleep(0)


class LoopClock:
    """Reads the running loop's time: virtual on a `VirtualTimeLoop`."""

    def now(self) -> float:
        """Return the loop's time, in seconds."""
        return asyncio.get_running_loop().time()

    async def sleep(self, delay_s: float) -> None:
        """Sleep on the loop."""
        await asyncio.sleep(delay_s)


class _JumpingSelector(selectors.DefaultSelector):
    """Passes the time it is asked to wait instead of waiting."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("deadlock: nothing is scheduled and nothing is ready")
        self._jump(timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time.

    Deterministic as long as nothing in it does real I/O.
    """

    def __init__(self) -> None:
        self._virtual_s = 1000.0
        super().__init__(_JumpingSelector(self._pass))

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._virtual_s

    def _pass(self, delay_s: float) -> None:
        # A hair more than asked, as real clocks do, so that rounding never leaves a
        # timer due "in zero seconds" for ever.
        self._virtual_s += delay_s + 1e-9


class ScriptedOperation:
    """An operation that does as the script says, one step per attempt.

    A step is an exception to raise, a number of seconds to be silent for before the
    next step is taken, or any other value to return. The last step repeats.
    """

    def __init__(self, *steps: object) -> None:
        self._steps: list[object] = list(steps)
        self.sends: list[str] = []
        """The target of each attempt that reached the operation, in order."""

    async def __call__(self, call: Call) -> Any:
        """Take the next step."""
        self.sends.append(call.target)
        step = self._next()
        while isinstance(step, float):
            await asyncio.sleep(step)
            step = self._next()
        if isinstance(step, BaseException):
            raise step
        return step

    def _next(self) -> object:
        return self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]


def run_virtually[T](main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in virtual time and return its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
