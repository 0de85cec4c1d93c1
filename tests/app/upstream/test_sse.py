"""Events from bytes: the standard's rules, any chunking, bounded size."""

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import UpstreamGarbled
from app.upstream.sse import Event, EventParser

Told = tuple[bytes | None, bytes, bytes]


def told(events: list[Event]) -> list[Told]:
    """What an event says, without the bytes it was made of."""
    return [(event.data, event.event, event.id) for event in events]


def fed(*chunks: bytes, limit: int = 1024) -> tuple[list[Event], Event | None]:
    parser = EventParser(limit)
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events, parser.finish()


def dispatched(stream: bytes) -> list[Told]:
    """The standard's algorithm, line by line, as the model to compare with."""
    stream = stream.removeprefix(b"\xef\xbb\xbf")
    *lines, _unfinished = re.split(rb"\r\n|\n|\r", stream)
    data, kind, last_id = b"", b"", b""
    events: list[Told] = []
    for line in lines:
        if not line:
            if data:
                events.append((data.removesuffix(b"\n"), kind, last_id))
            data, kind = b"", b""
            continue
        if line.startswith(b":"):
            continue
        field, colon, value = line.partition(b":")
        if colon and value.startswith(b" "):
            value = value[1:]
        if field == b"event":
            kind = value
        elif field == b"data":
            data += value + b"\n"
        elif field == b"id" and b"\0" not in value:
            last_id = value
    return events


# -- the rules, one by one


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CRLF"])
def test_lines_end_in_lf_cr_or_crlf(end: bytes) -> None:
    block = b"event: a" + end + b"data: 1" + end + b"data: 2" + end + end
    events, rest = fed(block + block)
    assert told(events) == [(b"1\n2", b"a", b"")] * 2
    assert [event.raw for event in events] == [block, block]
    assert rest is None


@pytest.mark.parametrize(
    ("block", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x\n\n", b" x"),
        (b"data\n\n", b""),
        (b"data:\n\n", b""),
        (b"data: a:b\n\n", b"a:b"),
        (b"data: x\ndata\ndata: y\n\n", b"x\n\ny"),
        (b": comment\ndata: x\n: more\n\n", b"x"),
        (b"unknown: 1\ndata: x\nretry: 10\n\n", b"x"),
        (b"\ndata: x\n\n", b"x"),
        (b" data: x\n\n", None),
        (b"Data: x\n\n", None),
        (b":keepalive\n\n", None),
        (b"event: only\n\n", None),
        (b"\n\n", None),
    ],
)
def test_a_block_says_what_the_standard_makes_of_it(
    block: bytes, data: bytes | None
) -> None:
    events, rest = fed(block)
    assert [event.data for event in events] == [data]
    assert events[0].raw == block
    assert rest is None


def test_the_type_belongs_to_one_block_and_the_id_to_all_that_follow() -> None:
    events, _ = fed(b"id: 7\nevent: a\ndata: 1\n\ndata: 2\n\nid: 8\0\ndata: 3\n\n")
    assert told(events) == [(b"1", b"a", b"7"), (b"2", b"", b"7"), (b"3", b"", b"7")]


def test_a_bom_is_ignored_at_the_start_only() -> None:
    bom = b"\xef\xbb\xbf"
    events, _ = fed(bom + b"data: 1\n\n" + bom + b"data: 2\n\n")
    assert [event.data for event in events] == [b"1", None]
    assert events[0].raw == bom + b"data: 1\n\n"


def test_an_event_is_returned_with_the_byte_that_completes_it() -> None:
    parser = EventParser()
    assert parser.feed(b"data: 1\r\n") == []
    assert told(parser.feed(b"\r")) == [(b"1", b"", b"")]
    assert parser.feed(b"\ndata: 2\r\n\r")[0].raw == b"\ndata: 2\r\n\r"
    assert parser.feed(b"\n") == []


def test_the_end_hands_over_what_it_cut_off() -> None:
    events, rest = fed(b"data: 1\n\ndata: [DONE]\n")
    assert [event.data for event in events] == [b"1"]
    assert rest == Event(b"data: [DONE]\n", b"[DONE]")


# -- any chunking

TRICKY = (
    b'\xef\xbb\xbf: hi\r\n\r\ndata: {"a": 1}\n\ndata: {"b": 2}\n\n'
    b"event: x\rid: 5\rdata: c\rdata: d\r\rdata\r\n\r\n\n\ndata: e\n\r\ndata: f"
)


def test_a_cut_at_every_byte_changes_nothing() -> None:
    whole, rest = fed(TRICKY)
    assert told(whole) != []
    for at in range(len(TRICKY) + 1):
        events, cut_off = fed(TRICKY[:at], TRICKY[at:])
        assert data_of(events) == data_of(whole), f"cut at {at}"
        assert raw_of(events, cut_off) == TRICKY
        assert (cut_off and cut_off.data) == (rest and rest.data)


def data_of(events: list[Event]) -> list[Told]:
    return [said for said in told(events) if said[0] is not None]


def raw_of(events: list[Event], rest: Event | None) -> bytes:
    return b"".join([event.raw for event in events]) + (rest.raw if rest else b"")


LINES = st.sampled_from(
    [b"data: x", b"data", b"data:y", b"event: e", b"id: 1", b"id", b": c", b"z", b""]
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
STREAMS = st.one_of(
    st.lists(st.tuples(LINES, ENDS)).map(lambda rows: b"".join(map(b"".join, rows))),
    st.text(alphabet="\r\n:da t\ufeff\0", max_size=60).map(str.encode),
)


@given(STREAMS, st.lists(st.integers(0, 80)))
@example(b"data: x\r\r\ndata: y\n\r\n", [8, 9, 10])
def test_every_chunking_dispatches_what_the_standard_does(
    stream: bytes, cuts: list[int]
) -> None:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(edges)]
    events, rest = fed(*chunks)
    assert data_of(events) == dispatched(stream)
    assert raw_of(events, rest) == stream


# -- bounded size


@given(st.integers(1, 40), st.integers(1, 40), ENDS, st.lists(st.integers(0, 60)))
def test_an_event_is_refused_by_its_size_whatever_the_chunks(
    size: int, limit: int, end: bytes, cuts: list[int]
) -> None:
    stream = b"a" + end + end + b"b" * size + end + end
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    parser = EventParser(limit)
    events: list[Event] = []
    try:
        for a, b in itertools.pairwise(edges):
            events += parser.feed(stream[a:b])
        parser.finish()
    except UpstreamGarbled:
        refused = True
        with pytest.raises(UpstreamGarbled):
            parser.finish()
    else:
        refused = False
    assert refused == (size > limit)
    assert events[0].raw.rstrip() == b"a", "what came before it was handed over"


def test_an_event_without_end_is_refused_before_it_is_complete() -> None:
    parser = EventParser(100)
    with pytest.raises(UpstreamGarbled):
        for _ in range(102):
            parser.feed(b"x")


def test_a_limit_that_admits_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        EventParser(0)
