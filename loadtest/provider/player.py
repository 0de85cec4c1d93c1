"""Plays one script onto one connection: the only code that paces, resets and closes.

A step is sent when it is due, counted from the request, so that delays do not add
up; steps due together leave in one write. The script has ended once its bytes have
left the process, not when they were buffered.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import cast

from loadtest.provider.script import Ending, Script, Step

# SO_LINGER on, zero seconds: close() sends RST instead of FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# Loop clocks tick in milliseconds at worst (uvloop): what is due within one is due.
_CLOCK_TICK_S = 0.001


def reset(transport: asyncio.Transport) -> None:
    """Close with a TCP RST; what is still buffered is lost."""
    connection = cast(socket.socket, transport.get_extra_info("socket"))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


class Player:
    """Plays a script once.

    `sent` is called with the count of tokens after each write, `finished` at the end
    unless the script hangs.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        script: Script,
        sent: Callable[[int], None],
        finished: Callable[[Ending], None],
    ) -> None:
        """Prepare; nothing is sent before `start`."""
        self._transport = transport
        self._loop = loop
        self._script = script
        self._sent = sent
        self._finished = finished
        self._steps = iter(script.steps)
        self._next: Step | None = None
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._played = False

    def start(self) -> None:
        """Send what is due now and set a timer for the rest."""
        self._due_s = self._loop.time()
        self._load()
        self._advance()

    def stop(self) -> None:
        """The connection is gone: send nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._next = None
        self._played = False

    def pause(self) -> None:
        """Bytes are waiting in the process for the client to read."""
        self._paused = True

    def resume(self) -> None:
        """All bytes have left the process."""
        self._paused = False
        if self._played:
            self._finish()

    def _load(self) -> None:
        self._next = next(self._steps, None)
        if self._next is not None:
            self._due_s += self._next.after_s

    def _advance(self) -> None:
        self._timer = None
        horizon_s = self._loop.time() + _CLOCK_TICK_S
        pieces = []
        tokens = 0
        while self._next is not None and self._due_s <= horizon_s:
            pieces.append(self._next.data)
            tokens += self._next.tokens
            self._load()
        if pieces:
            self._transport.write(b"".join(pieces))
            self._sent(tokens)
        if self._next is not None:
            self._timer = self._loop.call_at(self._due_s, self._advance)
        else:
            self._played = True
            if not self._paused:
                self._finish()

    def _finish(self) -> None:
        self._played = False
        ending = self._script.ending
        if ending is not Ending.HANG:
            self._finished(ending)
