"""A request as bytes: head and framed body, refused when it could be read otherwise.

Header values may come from configuration and from clients; a line break in one would
start a header, or a request, of someone else's choosing (RFC 9112, section 11). Pure
translation: no I/O.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterable

from app.upstream.failures import RequestMisformed

_TOKENS = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
_NOT_IN_TARGET = re.compile(rb"[\x00-\x20\x7f]").search


def build_head(
    method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]
) -> bytes:
    """Return the head of an HTTP/1.1 request, up to and with its empty line.

    Raises:
        RequestMisformed: a method, target or header that HTTP does not allow, or no
            `host` header.
    """
    names = [name for name, _ in headers]
    if not all(names) or not _TOKENS(b"".join((method, *names))):
        raise RequestMisformed("a method or header name is not a token")
    if not target or _NOT_IN_TARGET(target):
        raise RequestMisformed("the request target holds a space or control character")
    if _CONTROLS(b"".join([value for _, value in headers])):
        raise RequestMisformed("a header value holds a control character")
    if b"host" not in [name.lower() for name in names]:
        raise RequestMisformed("the host header is missing")
    lines = [b"%b %b HTTP/1.1\r\n" % (method, target)]
    lines += [b"%b: %b\r\n" % header for header in headers]
    lines.append(b"\r\n")
    return b"".join(lines)


def declared_length(headers: list[tuple[bytes, bytes]]) -> int | None:
    """Return the body's declared length in bytes; `None` means it is sent in chunks.

    Without a declaration the body is empty (RFC 9112, section 6.3).

    Raises:
        RequestMisformed: the declaration is no number or contradicts itself.
    """
    lengths: set[bytes] = set()
    in_chunks = False
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"transfer-encoding":
            if value.strip().lower() != b"chunked":
                raise RequestMisformed("only the chunked transfer encoding is known")
            in_chunks = True
        elif lowered == b"content-length":
            lengths.add(value)
    if len(lengths) + in_chunks > 1:
        raise RequestMisformed("the body's length is declared in two ways")
    if in_chunks:
        return None
    length = lengths.pop() if lengths else b"0"
    if not length.isdigit():
        raise RequestMisformed("content-length is not a number")
    return int(length)


async def chunked(pieces: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """Frame a body of unknown length (RFC 9112, section 7.1)."""
    async for piece in pieces:
        if piece:  # an empty chunk would end the body
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


async def counted(pieces: AsyncIterable[bytes], declared: int) -> AsyncGenerator[bytes]:
    """Pass a body on, and fail unless it is as long as declared.

    Raises:
        RequestMisformed: it is shorter or longer.
    """
    sent = 0
    async for piece in pieces:
        sent += len(piece)
        if sent > declared:
            break
        yield piece
    check_length(sent, declared)


def check_length(actual: int, declared: int) -> None:
    """Compare a body with its declaration.

    Raises:
        RequestMisformed: they differ.
    """
    if actual != declared:
        raise RequestMisformed("the body is not as long as declared")
