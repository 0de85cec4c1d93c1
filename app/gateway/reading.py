"""Reads a provider's stream: bytes to chunks, and what counts as its end.

Rules: a chunk is handed over as it came, after one check; what is not valid in the
dialect is never handed over. A stream is complete when it says so, or when every
choice has finished; anything else that ends it has broken it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from app.domain import Chunk, Usage
from app.errors import StreamBroken, UpstreamError, UpstreamGarbled
from app.providers.protocol import Provider
from app.upstream.sse import Event, EventParser

_FAREWELL_S = 1.0
"""How long after its last finish reason a stream may take for usage and [DONE]."""

_DRAIN_S = 0.05
"""How long the end of the body is awaited, so that the connection can be kept."""


class ChunkReader:
    """Iterates over the chunks of one stream; the last one may be missing its [DONE].

    `choices` is how many answers were asked for (`n`). After the end, `usage`,
    `finish_reason` and `skipped` (malformed events left out) tell what was seen.

    Raises, from iteration:
        UpstreamGarbled: an event is malformed, and those are not to be skipped.
        StreamBroken: the stream ended, or said it failed, before it was complete.
    """

    def __init__(
        self,
        body: AsyncIterator[bytes],
        dialect: Provider,
        *,
        choices: int = 1,
        skip_malformed: bool = True,
    ) -> None:
        self._body = body
        self._dialect = dialect
        self._unfinished = set(range(choices))
        self._skip_malformed = skip_malformed
        self._parser = EventParser()
        self._events: deque[Event] = deque()
        self._done = False
        self._at_eof = False
        self._farewell_ends_s: float | None = None
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.skipped = 0

    def __aiter__(self) -> "ChunkReader":
        """Return itself."""
        return self

    async def __anext__(self) -> Chunk:
        """Return the next chunk."""
        while not self._done:
            if self._events:
                chunk = self._parse(self._events.popleft())
                if chunk is not None:
                    return chunk
            elif self._at_eof:
                self._require_finish()
                self._done = True
            else:
                await self._fill()
        await self._drain()
        raise StopAsyncIteration

    def _parse(self, event: Event) -> Chunk | None:
        try:
            chunk = self._dialect.parse_event(event.raw, event.data)
        except UpstreamError as exc:
            if self._skip_malformed and isinstance(exc, UpstreamGarbled):
                self.skipped += 1
            elif self._unfinished:
                raise
            else:
                self._done = True  # what follows the end cannot take it back
            return None
        if chunk.done:
            # It is the sender's word that the answer is complete.
            self._done = True
            return None
        self._unfinished.difference_update(chunk.finished)
        self.finish_reason = chunk.finish_reason or self.finish_reason
        self.usage = chunk.usage or self.usage
        return chunk

    async def _fill(self) -> None:
        """Read on; after the last finish reason only as long as a farewell takes."""
        try:
            if self._unfinished:
                data = await anext(self._body)
            else:
                async with asyncio.timeout_at(self._farewell()):
                    data = await anext(self._body)
            self._events.extend(self._parser.feed(data))
        except StopAsyncIteration:
            self._at_eof = True
            self._read_cut_off()
        except Exception:  # nothing that comes now can spoil the answer
            if self._unfinished:
                raise
            self._done = True  # silent, or cut, but after all that matters

    def _farewell(self) -> float:
        """When, by the loop's time, the farewell ends that began with this call."""
        if self._farewell_ends_s is None:
            now_s = asyncio.get_running_loop().time()
            self._farewell_ends_s = now_s + _FAREWELL_S
        return self._farewell_ends_s

    def _read_cut_off(self) -> None:
        """Look at what the end cut off: a sentinel without its blank line counts."""
        if self._unfinished:
            cut_off = self._parser.finish()
            self._done = cut_off is not None and cut_off.data == b"[DONE]"

    def _require_finish(self) -> None:
        if self._unfinished:
            raise StreamBroken(detail="the stream ended without a finish reason")

    async def _drain(self) -> None:
        """Read the end of the body, if it is there: then the connection is kept."""
        if self._at_eof:
            return
        self._at_eof = True
        try:
            async with asyncio.timeout(_DRAIN_S):
                async for _ in self._body:
                    pass
        except Exception:  # noqa: S110 - the answer is complete; the connection is not worth an error
            pass
