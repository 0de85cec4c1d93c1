"""What a complete answer, or a refusal, of an OpenAI-compatible provider means."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import Usage
from app.errors import (
    ContentFiltered,
    ContextTooLong,
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamGarbled,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from app.providers.openai import OpenAIProvider
from tests.app.json_strategies import bodies

DIALECT = OpenAIProvider()
ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "choices": [
        {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"},
    ],
    "usage": {"prompt_tokens": 2, "completion_tokens": 1},
    "x_vendor": {"kept": True},
}


def test_an_answer_is_kept_as_it_came() -> None:
    answer = DIALECT.parse_answer(orjson.dumps(ANSWER))
    assert answer.body == ANSWER
    assert answer.usage == Usage(2, 1)
    assert answer.finish_reason == "stop"


def test_usage_and_finish_reason_may_be_missing() -> None:
    answer = DIALECT.parse_answer(b'{"choices": [{"finish_reason": 7}]}')
    assert answer.usage is None
    assert answer.finish_reason is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b"[]",
        b"null",
        b"{}",
        b'{"choices": []}',
        b'{"choices": {}}',
        b'{"choices": [null]}',
        b'{"choices": [{}, "x"]}',
        b'{"choices": [' + b"[" * 400 + b"]" * 400 + b"]}",
        b'{"choices": [{"a": ' + b"[" * 400 + b"]" * 400 + b"}]}",
    ],
    ids=lambda body: body[:24].decode(),
)
def test_what_is_no_answer_is_garbled(body: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        DIALECT.parse_answer(body)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("out of memory", UpstreamGarbled),
        ({"message": "boom"}, UpstreamGarbled),
        ({"code": "context_length_exceeded"}, ContextTooLong),
        ({"code": "insufficient_quota"}, UpstreamAuthFailed),
        ({"code": 429}, UpstreamThrottled),
    ],
    ids=repr,
)
def test_an_error_with_status_200_is_told_by_its_code(
    error: object, kind: type[UpstreamError]
) -> None:
    with pytest.raises(UpstreamError) as caught:
        DIALECT.parse_answer(orjson.dumps({"error": error}))
    assert type(caught.value) is kind


@given(body=bodies)
def test_whatever_comes_is_an_answer_or_a_domain_error(body: bytes) -> None:
    try:
        answer = DIALECT.parse_answer(body)
    except UpstreamError:
        return
    orjson.dumps(answer.body)
    assert answer.finish_reason is None or isinstance(answer.finish_reason, str)


def failed(
    status: int,
    error: object = None,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> UpstreamError:
    if body is None:
        body = orjson.dumps({"error": error})
    return DIALECT.parse_error(status, headers or {}, body, target="alpha/small")


TABLE: list[tuple[int, str | int | None, type[UpstreamError]]] = [
    (400, None, UpstreamRefused),
    (400, "invalid_value", UpstreamRefused),
    (400, "context_length_exceeded", ContextTooLong),
    (413, "context_length_exceeded", ContextTooLong),
    (400, "content_filter", ContentFiltered),
    (400, "content_policy_violation", ContentFiltered),
    (401, "invalid_api_key", UpstreamAuthFailed),
    (402, None, UpstreamAuthFailed),
    (403, None, UpstreamAuthFailed),
    (404, "model_not_found", UpstreamRefused),
    (408, None, UpstreamUnavailable),
    (409, None, UpstreamUnavailable),
    (413, None, UpstreamRefused),
    (418, None, UpstreamRefused),
    (422, None, UpstreamRefused),
    (429, None, UpstreamThrottled),
    (429, "rate_limit_exceeded", UpstreamThrottled),
    (429, "insufficient_quota", UpstreamAuthFailed),
    (429, "billing_hard_limit_reached", UpstreamAuthFailed),
    (500, None, UpstreamUnavailable),
    (500, 400, UpstreamUnavailable),
    (502, "server_error", UpstreamUnavailable),
    (503, None, UpstreamOverloaded),
    (504, None, UpstreamUnavailable),
    (529, None, UpstreamOverloaded),
    (599, None, UpstreamUnavailable),
    (201, None, UpstreamUnavailable),
    (301, None, UpstreamUnavailable),
]


@pytest.mark.parametrize(("status", "code", "kind"), TABLE)
def test_a_refusal_is_told_by_status_and_code(
    status: int, code: str | int | None, kind: type[UpstreamError]
) -> None:
    error = failed(status, {"code": code, "message": "told"})
    assert type(error) is kind
    assert error.status == status
    assert error.target == "alpha/small"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
def test_a_named_pause_is_kept(status: int) -> None:
    assert failed(status, headers={"retry-after": "3"}).retry_after_s == 3
    assert failed(status).retry_after_s is None


def test_a_refusal_of_the_request_is_passed_on_with_its_code_and_param() -> None:
    error = failed(
        422, {"code": "bad_top_p", "message": "top_p is odd", "param": "top_p"}
    )
    assert error.public_message == "top_p is odd"
    assert error.public_code == "bad_top_p"
    assert error.param == "top_p"


def test_a_refusal_without_an_error_object_is_told_in_our_words() -> None:
    for body in (b"", b"<html>Bad Request</html>", b"[]", b'"no"', b"\xff"):
        error = failed(400, body=body)
        assert type(error) is UpstreamRefused
        assert error.public_code == "invalid_request"
        assert error.public_message == UpstreamRefused.message
        assert "refused" in error.public_message


def test_vllms_flat_error_and_a_plain_text_are_understood() -> None:
    flat = failed(400, body=b'{"object": "error", "message": "m", "code": 400}')
    assert flat.public_message == "m"
    assert failed(400, "plain").public_message == "plain"


def test_a_long_message_is_cut() -> None:
    assert len(failed(400, {"message": "x" * 10_000}).public_message) == 2000
    assert len(failed(400, "x" * 10_000).public_message) == 2000


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_what_is_not_the_callers_fault_is_told_to_the_log_only(status: int) -> None:
    error = failed(status, {"message": "Incorrect key sk-…abcd", "code": "odd"})
    assert "sk-" not in error.public_message
    assert "sk-…abcd" in (error.detail or "")
    assert "odd" in (error.detail or "")


@given(
    status=st.integers(100, 999),
    body=bodies,
    headers=st.fixed_dictionaries(
        {},
        optional={
            "retry-after": st.text(max_size=30),
            "retry-after-ms": st.text(max_size=30),
        },
    ),
)
def test_whatever_comes_is_a_domain_error(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    error = DIALECT.parse_error(status, headers, body, target="t")
    assert isinstance(error, UpstreamError)
    assert isinstance(error.public_message, str)
    assert isinstance(error.public_code, str)
    assert error.param is None or isinstance(error.param, str)
