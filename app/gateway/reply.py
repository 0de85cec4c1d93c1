"""An opened reply: what a successful attempt hands to the API.

Rule: it owns the call's leases from the commit point on. They are released when the
reply closes, with the error that ended it, whoever closes it, exactly once.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from app.domain import Chunk, Usage
from app.errors import StreamBroken, UpstreamError
from app.gateway.reading import ChunkReader
from resilience.call import Call
from resilience.errors import DeadlineExceeded, TimedOut
from resilience.timeout import GuardedStream

DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class Opened:
    """What one attempt brought: a whole answer, or a stream past its first token.

    `held` are the chunks read before the commit point, to be delivered first.
    """

    target: str
    body: dict[str, Any] | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    held: list[Chunk] = field(default_factory=list)
    chunks: GuardedStream[Chunk] | None = None
    reader: ChunkReader | None = None


type Close = Callable[["Reply", BaseException | None], Awaitable[None]]
"""Settles and releases everything a reply holds, told what ended it."""


class Reply:
    """The answer to one call.

    `target` is who answered, `fallback` whether that was not this call's first choice,
    `attempts` how many sends it took.
    """

    def __init__(
        self,
        opened: Opened,
        call: Call,
        *,
        fallback: bool,
        pass_usage: bool,
        close: Close,
    ) -> None:
        self._opened = opened
        self._call = call
        self._pass_usage = pass_usage
        self._close: Close | None = close
        self.target = opened.target
        self.fallback = fallback
        self.attempts = len(call.attempts)

    @property
    def remaining_s(self) -> float:
        """Seconds until the call's deadline, never negative."""
        return max(0.0, self._call.deadline.remaining_s())

    @property
    def body(self) -> dict[str, Any] | None:
        """The whole answer, for a client that does not stream."""
        return self._opened.body

    @property
    def names(self) -> tuple[str | None, str | None]:
        """The `id` and `model` that the provider's answer bears, where it does."""
        said = self._opened.body
        if said is None:
            said = next((c.data for c in self._opened.held if c.data is not None), {})
        found = (said.get("id"), said.get("model"))
        response_id, model = (v if isinstance(v, str) else None for v in found)
        return response_id, model

    @property
    def usage(self) -> Usage | None:
        """Tokens as the provider counted them, so far."""
        reader = self._opened.reader
        return self._opened.usage if reader is None else reader.usage

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended, if it has."""
        reader = self._opened.reader
        return self._opened.finish_reason if reader is None else reader.finish_reason

    async def events(self) -> AsyncGenerator[bytes]:
        """Yield the stream's events as they come, the sentinel last; then close.

        Raises:
            StreamBroken: the stream failed; it must not look complete to the client.
        """
        ended_by: BaseException | None = None
        try:
            yield b"".join(
                chunk.raw for chunk in self._opened.held if self._passes(chunk)
            )
            if self._opened.chunks is not None:
                async for chunk in self._opened.chunks:
                    if self._passes(chunk):
                        yield chunk.raw
            # Settled before the last word: a client may leave as soon as it has it.
            await self.close()
            yield DONE
        except StreamBroken as exc:
            ended_by = exc
            exc.usage = self._usage_so_far()
            raise
        except (UpstreamError, TimedOut) as exc:
            ended_by = exc
            raise self._broken(exc) from exc
        except BaseException as exc:  # noted for the leases, and raised again
            ended_by = exc
            raise
        finally:
            await self.close(ended_by)

    async def close(self, ended_by: BaseException | None = None) -> None:
        """Release every lease; `ended_by` is None if the answer is complete."""
        close, self._close = self._close, None
        if close is not None:
            await close(self, ended_by)

    def _passes(self, chunk: Chunk) -> bool:
        return self._pass_usage or not chunk.usage_only

    def _broken(self, exc: UpstreamError | TimedOut) -> StreamBroken:
        if isinstance(exc, DeadlineExceeded):
            broken = StreamBroken(
                "The request's deadline passed before the answer was complete."
            )
        elif isinstance(exc, TimedOut):
            broken = StreamBroken(
                "The provider's stream fell silent or too slow before it was complete."
            )
        else:
            broken = StreamBroken(target=exc.target, detail=exc.detail)
        broken.usage = self._usage_so_far()
        return broken

    def _usage_so_far(self) -> dict[str, Any]:
        """Return the provider's count if it gave one, else what was delivered."""
        usage, attempt = self.usage, self._call.attempt
        delivered = attempt.tokens if attempt else 0
        return {
            "prompt_tokens": usage.input_tokens if usage else None,
            "completion_tokens": usage.output_tokens if usage else delivered,
            "estimated": usage is None,
        }
