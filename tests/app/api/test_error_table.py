"""Every error of the domain has a status, a code, and a form the client can read."""

from collections.abc import Iterator

import orjson
import pytest

from app import errors
from app.api.error_table import (
    STATUS,
    broken_stream_event,
    error_body,
    error_headers,
    status_of,
)
from app.composition import openapi_document
from app.errors import AppError

ABSTRACT = (
    errors.AppError,
    errors.CallerError,
    errors.UpstreamError,
    errors.GatewayError,
)

DOCUMENTED = {  # the error table of the API's design
    "invalid_api_key": 401,
    "model_not_allowed": 403,
    "model_not_found": 404,
    "invalid_request": 400,
    "payload_too_large": 413,
    "headers_too_large": 431,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "overloaded": 503,
    "draining": 503,
    "all_targets_failed": 502,
    "deadline_exceeded": 504,
    "internal_error": 500,
}


def tree(root: type[AppError]) -> Iterator[type[AppError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


CONCRETE = [kind for kind in tree(AppError) if kind not in ABSTRACT]


@pytest.mark.parametrize("kind", CONCRETE, ids=lambda kind: kind.__name__)
def test_every_error_has_a_status(kind: type[AppError]) -> None:
    assert 400 <= STATUS[kind] < 600


def test_no_row_is_left_of_an_error_that_is_gone() -> None:
    assert set(STATUS) == set(CONCRETE)


@pytest.mark.parametrize(("code", "status"), DOCUMENTED.items())
def test_every_documented_code_is_answered_with_its_status(
    code: str, status: int
) -> None:
    assert status in {STATUS[kind] for kind in CONCRETE if kind.code == code}


@pytest.mark.parametrize("kind", CONCRETE, ids=lambda kind: kind.__name__)
def test_every_body_has_the_same_form(kind: type[AppError]) -> None:
    error = error_body(kind(), "req_1")["error"]

    assert list(error) == ["code", "message", "type", "param", "requestId"]
    assert error["requestId"] == "req_1"
    assert error["message"].endswith(".")
    assert kind.__name__ not in error["message"]


@pytest.mark.parametrize("kind", CONCRETE, ids=lambda kind: kind.__name__)
def test_what_is_for_the_log_is_never_sent(kind: type[AppError]) -> None:
    error = kind()
    error.detail = "a-secret-detail"

    sent = orjson.dumps([error_body(error, "req_1"), error_headers(error)])

    assert b"a-secret-detail" not in sent


@pytest.mark.parametrize("kind", CONCRETE, ids=lambda kind: kind.__name__)
def test_when_to_ask_again_is_told_with_429_and_503_only(kind: type[AppError]) -> None:
    headers = error_headers(kind())

    assert ("retry-after" in headers) == (STATUS[kind] in (429, 503))
    assert ("retry-after-ms" in headers) == ("retry-after" in headers)


def test_a_pause_is_rounded_up_so_that_nobody_comes_too_early() -> None:
    headers = error_headers(errors.RateLimited(retry_after_s=1.2004))

    assert headers["retry-after"] == "2"
    assert headers["retry-after-ms"] == "1201"


@pytest.mark.parametrize("kind", CONCRETE, ids=lambda kind: kind.__name__)
def test_a_client_is_not_told_both_to_wait_and_not_to_ask_again(
    kind: type[AppError],
) -> None:
    headers = error_headers(kind())

    if headers.get("x-should-retry") == "false":
        assert STATUS[kind] not in (503,)


def test_a_providers_refusal_keeps_its_status_unless_it_is_no_refusal() -> None:
    assert status_of(errors.UpstreamRefused(status=422)) == 422
    assert status_of(errors.UpstreamRefused(status=500)) == 400
    assert status_of(errors.ContextTooLong()) == 400


def test_the_event_that_ends_a_broken_stream_is_one_event() -> None:
    broken = errors.StreamBroken()
    broken.usage = {"completion_tokens": 3}

    event = broken_stream_event(broken, "req_1")

    assert event.startswith(b"data: ")
    assert event.endswith(b"}\n\n")
    assert event.count(b"\n") == 2
    error = orjson.loads(event.removeprefix(b"data: "))["error"]
    assert error["retryable"] is True
    assert error["usage"] == {"completion_tokens": 3}


def test_the_openapi_document_describes_the_error_and_refers_to_it() -> None:
    document = openapi_document()

    schema = document["components"]["schemas"]["Error"]
    error = schema["properties"]["error"]
    assert error["required"] == ["code", "message", "type", "param", "requestId"]
    responses = document["paths"]["/v1/chat/completions"]["post"]["responses"]
    for status in ("400", "401", "403", "404", "413", "429", "431", "502", "503"):
        content = responses[status]["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Error"}
    assert "422" not in responses
