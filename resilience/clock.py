"""Time, as the library sees it: one monotonic reading and one sleep.

Rule: every module takes its time from a `Clock`, never from `time` or the loop,
so that tests can replace it. Wall-clock time must not appear here: it jumps.
"""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock in seconds, with an arbitrary origin."""

    def now(self) -> float:
        """Return the current reading in seconds."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait for `delay_s` seconds; cancellable."""
        ...


class SystemClock:
    """The process's monotonic clock and the running loop's sleep."""

    now = staticmethod(time.monotonic)

    async def sleep(self, delay_s: float) -> None:
        """Wait on the running loop."""
        await asyncio.sleep(delay_s)
