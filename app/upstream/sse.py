"""Server-sent events: bytes in, events out, whatever the boundaries of the chunks.

Follows the event stream format of the WHATWG HTML standard (section 9.2.6): lines end
in CR, LF or CRLF, a blank line ends a block, a leading BOM is ignored, lines starting
with a colon are comments, unknown fields are ignored.

Rules it keeps:

- Each event keeps the bytes it was made of, so that it can be forwarded unchanged. All
  `raw` together, with what `finish` returns, are the input, byte for byte.
- A block that carries no data (a comment, a keep-alive) is an event too, with
  `data=None`: there is nothing to dispatch, but something to forward.
- An event is returned with the chunk that completes it. When that chunk ends in a CR
  whose LF is still to come, the LF opens the `raw` of the next event; a reader of the
  forwarded stream joins them again.

A pure parser: no I/O, no JSON, no knowledge of dialects. `retry` is ignored: a gateway
does not reconnect to an event stream.
"""

import re
from dataclasses import dataclass
from typing import Final

from app.errors import UpstreamGarbled

_BOM: Final = b"\xef\xbb\xbf"
_LINE_ENDS: Final = b"\r\n"
_DATA: Final = b"data: "

# Two line ends. The LF after a CR is possessive, so that a CRLF is never taken for
# two; written out twice, the pattern starts with literals, which is searched fast.
_BLOCK_END: Final = re.compile(rb"(?:\n|\r\n?+)(?:\n|\r\n?+)")


@dataclass(slots=True)
class Event:
    """One block of the stream.

    `raw` is the block with its line ends; `data` its data lines joined by LF, `None`
    when it has none; `event` its type (empty means the default, `message`); `id` the
    last event id that the stream has set so far.
    """

    raw: bytes
    data: bytes | None
    event: bytes = b""
    id: bytes = b""


class EventParser:
    """Turns the chunks of one stream into events; each stream needs its own.

    `max_event_bytes` bounds one event, the line ends around it not counted.
    """

    __slots__ = (
        "_after_cr",
        "_at_start",
        "_last_id",
        "_limit",
        "_pending",
        "_seen",
        "_too_large",
    )

    def __init__(self, max_event_bytes: int = 1024 * 1024) -> None:
        if max_event_bytes < 1:
            raise ValueError("max_event_bytes must be positive")
        self._limit = max_event_bytes
        self._pending = bytearray()
        self._seen = 0  # bytes of `_pending` that cannot be the start of a block's end
        self._after_cr = False
        self._at_start = True
        self._last_id = b""
        self._too_large = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that `chunk` completes.

        Raises:
            UpstreamGarbled: an event exceeds the limit. Events before it have been
                returned by then; there are none after it.
        """
        self._raise_if_too_large()
        if not chunk:
            return []
        if self._after_cr:
            self._after_cr = False
            if chunk.startswith(b"\n"):
                self._seen = 1  # the rest of the CRLF that ended the last block
        if not self._pending:
            return self._split(chunk)
        self._pending += chunk
        if _BLOCK_END.search(self._pending, self._seen) is None:
            self._keep()
            self._raise_if_too_large()
            return []
        text = bytes(self._pending)
        self._pending.clear()
        return self._split(text)

    def finish(self) -> Event | None:
        """Return the block that the end of the stream cut off, parsed as far as it is.

        By the standard it is not dispatched; whether one that looks complete counts is
        for the caller to say.

        Raises:
            UpstreamGarbled: as `feed`.
        """
        self._raise_if_too_large()
        if not self._pending:
            return None
        text = bytes(self._pending)
        self._pending.clear()
        return self._parse(text)

    def _split(self, text: bytes) -> list[Event]:
        """Cut `text`, which starts with a block, into events; keep what is left."""
        events: list[Event] = []
        start, seen, size = 0, self._seen, len(text)
        only_lf = b"\r" not in text
        while True:
            if only_lf:
                end = text.find(b"\n\n", seen)
                stop = end + 2
            else:
                found = _BLOCK_END.search(text, seen)
                end, stop = found.span() if found else (-1, 0)
            if end < 0:
                break
            if end - start > self._limit and self._exceeds(text[start:end]):
                self._too_large = True
                break
            raw = text if stop - start == size else text[start:stop]
            if only_lf and raw.startswith(_DATA) and raw.find(b"\n") == end - start:
                self._at_start = False
                events.append(Event(raw, raw[6:-2], b"", self._last_id))
            else:
                events.append(self._parse(raw))
            start = seen = stop
        self._seen = seen if start == 0 else 0
        if start < size:
            self._pending += text[start:]
            self._keep()
        else:
            self._after_cr = text.endswith(b"\r")
        if not events:
            self._raise_if_too_large()
        return events

    def _keep(self) -> None:
        """Note how far `_pending` is known, and whether it has grown too large."""
        size = len(self._pending)
        # The longest block end is CRLF CRLF: its first three bytes may be here.
        self._seen = max(self._seen, size - 3)
        if size > self._limit and self._exceeds(bytes(self._pending)):
            self._too_large = True

    def _parse(self, raw: bytes) -> Event:
        block = raw
        if self._at_start:
            self._at_start = False
            block = raw.removeprefix(_BOM)
        lines: list[bytes] = []
        event = b""
        for line in block.splitlines():
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                lines.append(value)
            elif name == b"event":
                event = value
            elif name == b"id" and b"\0" not in value:
                self._last_id = value
        data = b"\n".join(lines) if lines else None
        return Event(raw, data, event, self._last_id)

    def _exceeds(self, block: bytes) -> bool:
        return len(block.strip(_LINE_ENDS)) > self._limit

    def _raise_if_too_large(self) -> None:
        if self._too_large:
            self._pending.clear()
            raise UpstreamGarbled(
                detail=f"an event of the stream is larger than {self._limit} bytes"
            )
