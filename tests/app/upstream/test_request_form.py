"""What may be put on the wire, and in which form."""

import pytest

from app.upstream.failures import RequestMisformed
from app.upstream.request_form import build_head, declared_length

HOST = (b"Host", b"a.example")


def test_a_head_is_the_request_line_the_headers_and_an_empty_line() -> None:
    head = build_head(b"POST", b"/a?b=%20", [HOST, (b"x", b"1"), (b"x", "é".encode())])
    assert head == (
        b"POST /a?b=%20 HTTP/1.1\r\nHost: a.example\r\nx: 1\r\nx: \xc3\xa9\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "target", "header"),
    [
        (b"GE T", b"/", (b"x", b"1")),
        (b"GET\r\n", b"/", (b"x", b"1")),
        (b"GET", b"", (b"x", b"1")),
        (b"GET", b"/ HTTP/1.1", (b"x", b"1")),
        (b"GET", b"/\r\nx: 1", (b"x", b"1")),
        (b"GET", b"/", (b"", b"1")),
        (b"GET", b"/", (b"x:", b"1")),
        (b"GET", b"/", (b"x\r\n", b"1")),
        (b"GET", b"/", (b"x", b"1\r\n")),
        (b"GET", b"/", (b"x", b"1\n")),
        (b"GET", b"/", (b"x", b"\0")),
    ],
)
def test_what_could_be_read_as_something_else_is_refused(
    method: bytes, target: bytes, header: tuple[bytes, bytes]
) -> None:
    with pytest.raises(RequestMisformed):
        build_head(method, target, [HOST, header])


def test_a_request_without_host_is_refused() -> None:
    with pytest.raises(RequestMisformed):
        build_head(b"GET", b"/", [])


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ([], 0),
        ([(b"Content-Length", b"12")], 12),
        ([(b"content-length", b"12"), (b"content-length", b"12")], 12),
        ([(b"Transfer-Encoding", b"Chunked")], None),
    ],
)
def test_the_length_of_a_body_is_as_declared(
    headers: list[tuple[bytes, bytes]], length: int | None
) -> None:
    assert declared_length(headers) == length


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"twelve")],
        [(b"content-length", b"-1")],
        [(b"content-length", b"0"), (b"content-length", b"2")],
        [(b"content-length", b"12"), (b"content-length", b"2")],
        [(b"content-length", b"12"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"gzip, chunked")],
    ],
)
def test_a_contradictory_declaration_is_refused(
    headers: list[tuple[bytes, bytes]],
) -> None:
    with pytest.raises(RequestMisformed):
        declared_length(headers)
