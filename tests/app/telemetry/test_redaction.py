"""No secret leaves, by its key or by its shape; whatever leaves is plain JSON."""

import json
import re
import string
import time
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.telemetry import redaction
from app.telemetry.redaction import MASK, redact_fields, redact_text

BODY = st.text(string.ascii_letters + string.digits + "_-", min_size=16, max_size=60)
# Examples have no time limit: the machine may be busy with something else.
patient = settings(deadline=None)

ANYTHING = st.text(max_size=60)
SECRET = st.one_of(
    BODY.map("sk-{}".format),
    BODY.map("sk-proj-{}".format),
    BODY.map("bw-{}".format),
)


@patient
@given(ANYTHING, SECRET, ANYTHING)
def test_a_key_is_masked_wherever_it_stands(
    before: str, secret: str, after: str
) -> None:
    assert secret not in redact_text(before + secret + after)


@patient
@given(SECRET)
@example("sk-0123456789abcdef")
def test_a_key_is_masked_in_text_that_was_escaped(secret: str) -> None:
    for text in (repr(f"a\n{secret}"), json.dumps(f"a\n{secret}"), f"%20{secret}"):
        assert secret not in redact_text(text)


@patient
@given(
    st.sampled_from(
        ["Bearer ", "bearer ", "BEARER\t", "Basic ", "BASIC ", "Bearer%20"]
    ),
    st.text(string.ascii_letters + string.digits + "._~+/=-", min_size=4, max_size=60),
)
def test_an_authorization_is_masked(scheme: str, credentials: str) -> None:
    masked = redact_text(f"Authorization: {scheme}{credentials}, and more")
    assert masked == f"Authorization: {MASK}, and more"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("short key sk-abc.", f"short key {MASK}."),
        ("redis://:hunter2@store:6379/0", f"redis://{MASK}@store:6379/0"),
        ("https://u:pass@h/path", f"https://{MASK}@h/path"),  # pragma: allowlist secret
        ("token eyJhbGciOi.eyJzdWIi.c2ln end", f"token {MASK} end"),
        ("AKIAIOSFODNN7EXAMPLE", MASK),  # pragma: allowlist secret
        ("two: sk-abcdef bw-abcdef", f"two: {MASK} {MASK}"),
    ],
)
def test_each_shape_is_masked_and_nothing_around_it(text: str, masked: str) -> None:
    assert redact_text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "req_0123456789abcdef01234567",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "a risk-averse task-force asked a desk-bound clerk",
        "gpt-4o-mini at https://api.openai.com/v1/chat/completions",
        "Qwen/Qwen3-8B",
        "the bearer of basic news",
        "mail me: a@b.test",
    ],
)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text


@patient
@given(st.text(string.ascii_letters + string.digits + " :/@-_.%\\n", max_size=80))
def test_the_quick_look_misses_nothing(text: str) -> None:
    if redaction._SECRET_VALUES.search(text):
        assert redaction._HINT.search(text)


@pytest.mark.parametrize(
    "key",
    [
        *("authorization", "Authorization", "x-api-key", "api_key", "apiKey"),
        *("password", "db_password", "token", "accessToken", "client_secret"),
        *("Set-Cookie", "aws_secret_access_key", "credentials", "privateKey"),
    ],
)
def test_what_a_key_calls_secret_is_masked(key: str) -> None:
    assert redact_fields({"deep": [{key: "x"}]}) == {"deep": [{key: MASK}]}


@pytest.mark.parametrize(
    "key",
    ["inputTokens", "outputTokens", "max_tokens", "keyId", "requestId", "message"],
)
def test_a_key_that_only_sounds_secret_is_left_alone(key: str) -> None:
    assert redact_fields({key: "x"}) == {key: "x"}


def test_a_secret_that_is_not_set_shows_as_such() -> None:
    assert redact_fields({"api_key": None}) == {"api_key": None}


def test_what_lies_too_deep_is_left_out() -> None:
    deep: Any = [1]
    for _ in range(20):
        deep = MappingProxyType({"in": [deep]})
    line = orjson.dumps(redact_fields({"deep": deep}))
    assert redaction.TRUNCATED.encode() in line


def _only_plain(value: object) -> bool:
    match value:
        case dict():
            return all(type(k) is str and _only_plain(v) for k, v in value.items())
        case list():
            return all(map(_only_plain, value))
        case _:
            return value is None or isinstance(value, bool | int | float | str)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.binary()
    | st.complex_numbers()
    | st.datetimes(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.frozensets(st.integers())
        | st.dictionaries(st.text(st.characters(codec=None)) | st.integers(), inner)
    ),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_whatever_it_is_given_becomes_plain_json(fields: dict[str, Any]) -> None:
    plain = redact_fields(fields)
    assert _only_plain(plain)
    assert isinstance(orjson.loads(orjson.dumps(plain)), dict)


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no")


class Shifting(dict[str, object]):
    def items(self) -> Any:
        raise RuntimeError("no")


class ShiftingList(list[object]):
    def __iter__(self) -> Any:
        raise RuntimeError("no")


def test_objects_that_misbehave_do_no_harm() -> None:
    cycle: dict[str, object] = {}
    cycle["again"] = cycle
    fields = {
        "hostile": Hostile(),
        "cycle": cycle,
        "shifting": Shifting(a=1),
        "list": ShiftingList([1]),
        "wide": list(range(1000)),
        "many": {str(n): n for n in range(1000)},
        "long": "x" * 100_000,
        Hostile(): 1,
    }
    line = orjson.dumps(redact_fields(fields))  # type: ignore[arg-type]  # a key that is no text
    assert b"<Hostile>" in line
    assert len(line) < 40_000


def test_a_long_text_is_cut_without_showing_the_secret_it_was_cut_in() -> None:
    text = "x " * 8188 + "sk-" + "a" * 40
    assert not re.search("sk-a", redact_text(text))


def test_masking_takes_time_in_proportion_to_the_text() -> None:
    def cpu_s(text: str) -> float:
        """The least of several readings of this thread's own CPU time."""
        readings = []
        for _ in range(7):
            began_s = time.thread_time()
            redact_text(text)
            readings.append(time.thread_time() - began_s)
        return min(readings)

    # Eight times the text; a pattern that backtracks would take 64 times as long or
    # more. What is too short to measure counts as a tenth of a millisecond.
    for piece in ("://", "bearer ", "sk-", "sk", "eyJ.", "://a:b", "AKIA"):
        short_s, long_s = cpu_s(piece * 256), cpu_s(piece * 2048)
        assert long_s < 40 * max(short_s, 1e-4)
