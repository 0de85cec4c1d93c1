"""One attempt: a client's request, sent to one target, up to an opened reply.

Rule: this is the operation that the layers of `resilience` guard. It knows nothing of
them: what it must release it pushes on the call's leases, and it returns at the commit
point, or raises. Translation is the dialect's business, bytes are the upstream's.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain import ChatRequest, Chunk
from app.errors import UpstreamError, UpstreamGarbled, is_bug
from app.gateway.reading import ChunkReader
from app.gateway.reply import Opened
from app.gateway.routing import Route, UpstreamTarget
from app.providers.assembly import ChatAssembly
from app.telemetry.logging import get_logger
from app.telemetry.observation import Observation
from app.upstream import Upstream, UpstreamRequest, UpstreamResponse
from resilience.call import Call
from resilience.timeout import GuardedStream

_MAX_ERROR_BYTES = 64 * 1024
_ERROR_BODY_S = 2.0
_MAX_ANSWER_BYTES = 64 * 1024 * 1024


def _weigh(chunk: Chunk) -> int:
    return chunk.tokens


@dataclass(frozen=True, slots=True)
class ChatAttempt:
    """The operation of one call; called once per attempt."""

    upstream: Upstream
    request: ChatRequest
    route: Route
    observation: Observation

    async def __call__(self, call: Call) -> Opened:
        """Send the request to `call.target`.

        Raises:
            UpstreamError: the target failed, or refuses the request.
            TimedOut: a phase took too long.
        """
        try:
            return await self._open(call)
        except Exception as exc:  # only looked at, and raised again
            if is_bug(exc):
                # It may be covered by another target's answer, so it is told here.
                get_logger().exception("unexpected error", target=call.target)
            raise

    async def _open(self, call: Call) -> Opened:
        target = self.route.targets[call.target]
        streamed = self._streams_upstream()
        if not streamed:
            call.expect_whole()
        response = await self._send(target, call, stream=streamed)
        if response.status != 200:
            await self._raise_refusal(target, response)
        if not streamed:
            return await self._whole(target, response)
        media_type = response.headers.get("content-type", "").lower()
        if not media_type.startswith("text/event-stream"):
            raise UpstreamGarbled(
                target=target.name,
                detail=f"a stream was asked for, {media_type[:80]!r} came",
            )
        return await self._stream(target, response, call)

    def _streams_upstream(self) -> bool:
        if self.request.stream:
            return True
        # Audio comes in a form of its own when streamed; it is not put together here.
        modalities = self.request.body.get("modalities")
        audio = isinstance(modalities, list) and "audio" in modalities
        return self.route.stream_upstream and not audio

    async def _send(
        self, target: UpstreamTarget, call: Call, *, stream: bool
    ) -> UpstreamResponse:
        prepared = target.dialect.build_chat(
            self.request.body, model=target.model, api_key=target.api_key, stream=stream
        )
        headers = [*prepared.headers, ("x-request-id", self.request.request_id)]
        remaining_ms = max(1, int(call.deadline.remaining_s() * 1000))
        headers.append(("x-gateway-timeout-ms", str(remaining_ms)))
        assert call.attempt is not None  # noqa: S101 - the pipeline has begun one
        traceparent = self.observation.traceparent(call.attempt)
        if traceparent is not None:
            headers.append(("traceparent", traceparent))
        response = await self.upstream.open(
            UpstreamRequest(
                method="POST",
                url=target.base_url + prepared.path,
                headers=tuple(headers),
                body=prepared.body,
                target=target.name,
            ),
            connect_timeout_s=target.limits.connect_s,
            read_timeout_s=None,  # the guards measure silence, up to the first token
        )
        call.leases.push_async_callback(response.aclose)
        return response

    async def _raise_refusal(
        self, target: UpstreamTarget, response: UpstreamResponse
    ) -> None:
        body = await _error_body(response)
        raise target.dialect.parse_error(
            response.status, response.headers, body, target=target.name
        )

    async def _whole(
        self, target: UpstreamTarget, response: UpstreamResponse
    ) -> Opened:
        answer = target.dialect.parse_answer(await response.read(_MAX_ANSWER_BYTES))
        return Opened(
            target.name,
            body=answer.body,
            usage=answer.usage,
            finish_reason=answer.finish_reason,
        )

    async def _stream(
        self, target: UpstreamTarget, response: UpstreamResponse, call: Call
    ) -> Opened:
        """Hold back until the first meaningful content; nothing before it is sent."""
        reader = ChunkReader(
            response.chunks(),
            target.dialect,
            choices=self.request.body.get("n") or 1,
            skip_malformed=self.route.skip_malformed,
        )
        chunks = GuardedStream(reader, call, target.limits, _weigh)
        opened = Opened(target.name, chunks=chunks, reader=reader)
        async for chunk in chunks:
            opened.held.append(chunk)
            if chunk.tokens or chunk.finished:
                break
        else:
            raise UpstreamGarbled(
                target=target.name, detail="the stream ended without content"
            )
        call.mark_first_token()
        if not self.request.stream:
            opened.body = await _assemble(opened.held, chunks)
        return opened


async def _error_body(response: UpstreamResponse) -> bytes:
    """Return what comes of a refusal's body; its status counts, whatever comes."""
    body = b""
    try:
        async with asyncio.timeout(_ERROR_BODY_S):
            async for piece in response.chunks():
                body += piece
                if len(body) > _MAX_ERROR_BYTES:
                    break
    except (TimeoutError, UpstreamError):
        pass
    return body


async def _assemble(
    held: Sequence[Chunk], rest: AsyncIterator[Chunk]
) -> dict[str, Any]:
    """Read the stream to its end and put the answer together."""
    assembly = ChatAssembly()
    for chunk in held:
        assembly.add(chunk.data or {})
    async for chunk in rest:
        assembly.add(chunk.data or {})
    return assembly.result()
