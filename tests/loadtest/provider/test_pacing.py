"""When the bytes are due: read off the scripts, so that no test depends on a clock."""

import pytest

from loadtest.provider.faults import Fault
from loadtest.provider.script import Script
from loadtest.provider.service import Request, Service, Settings
from tests.loadtest.provider.wire_client import chat, request

PACED = Settings("alpha", first_token_s=1.0, tokens_per_s=10, tokens=5, api_key=None)


def script(fault: Fault | None = None, *, stream: bool, user: str = "") -> Script:
    service = Service(PACED, log_limit=1)
    service.switch.set(fault)
    body = request(chat(stream=stream, user=user)).partition(b"\r\n\r\n")[2]
    asked = Request("POST", "/v1/chat/completions", "", {}, body)
    return service.respond(asked)[0]


def token_times_s(given: Script) -> list[float]:
    """When each step that carries tokens is due."""
    due_s, times_s = 0.0, []
    for step in given.steps:
        due_s += step.after_s
        times_s += [due_s] * bool(step.tokens)
    return times_s


def test_tokens_follow_the_first_at_the_given_rate() -> None:
    first_s, *later_s = token_times_s(script(stream=True))

    assert first_s == pytest.approx(1.0, rel=0.1)
    assert later_s == pytest.approx([first_s + 0.1 * n for n in range(1, 5)])


def test_a_plain_answer_takes_as_long_as_its_tokens() -> None:
    [streamed_s] = token_times_s(script(stream=True))[-1:]
    [plain_s] = token_times_s(script(stream=False))

    assert plain_s == pytest.approx(streamed_s, rel=0.2)


def test_the_first_token_varies_with_the_request_and_not_with_chance() -> None:
    users = [str(number) for number in range(50)]
    once = [token_times_s(script(stream=True, user=u))[0] for u in users]
    again = [token_times_s(script(stream=True, user=u))[0] for u in users]

    assert once == again
    assert len(set(once)) > 40
    assert all(0.9 <= first_s <= 1.1 for first_s in once)


def test_nothing_is_sent_before_the_first_token_is_due(stream: bool) -> None:
    [first, *_] = script(stream=stream).steps

    assert first.after_s >= 0.9


def test_headers_come_at_once_when_only_the_first_token_is_slow(
    stream: bool,
) -> None:
    fault = Fault("slow_first_token", delay_s=30)
    [headers, late, *_] = script(fault, stream=stream).steps

    assert headers.data.endswith(b"\r\n\r\n")
    assert (headers.after_s, late.after_s) == (0, 30)


def test_slow_headers_delays_the_first_byte(stream: bool) -> None:
    fault = Fault("slow_headers", delay_s=30)
    [first, *_] = script(fault, stream=stream).steps

    assert first.after_s == 30


def test_dribble_waits_the_interval_between_pieces(stream: bool) -> None:
    fault = Fault("dribble", interval_s=7)
    first_s, *later_s = token_times_s(script(fault, stream=stream))

    assert later_s == pytest.approx([first_s + 7 * n for n in range(1, 5)])
