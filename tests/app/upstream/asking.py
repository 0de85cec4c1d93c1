"""How the tests ask a transport: a request with limits, and its body read raw."""

from collections.abc import AsyncIterator

import httpx

SHORT_S = 0.08
LONG_S = 10.0


def limits(**short: float) -> dict[str, float]:
    """Long limits for every phase but those given."""
    return {"pool": LONG_S, "connect": LONG_S, "write": LONG_S, "read": LONG_S} | short


def a_request(
    url: str,
    *,
    method: str = "POST",
    content: bytes | AsyncIterator[bytes] | None = b"{}",
    headers: list[tuple[str, str]] | None = None,
    **short: float,
) -> httpx.Request:
    return httpx.Request(
        method,
        url,
        content=content,
        headers=headers,
        extensions={"timeout": limits(**short)},
    )


async def body_of(response: httpx.Response) -> bytes:
    """The raw body, to its end."""
    pieces = [piece async for piece in raw(response)]
    await response.aclose()
    return b"".join(pieces)


def raw(response: httpx.Response) -> AsyncIterator[bytes]:
    """The raw pieces as the transport hands them over."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return aiter(response.stream)
