"""The pause that a provider asks for."""

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.retry_after import MAX_PAUSE_S, parse_retry_after_s

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def pause_s(**headers: str) -> float | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return parse_retry_after_s(named, now=NOW)


def test_none_is_named() -> None:
    assert pause_s() is None


@pytest.mark.parametrize(
    ("value", "seconds"), [("0", 0), ("7", 7), ("1.5", 1.5), (" 3 ", 3)]
)
def test_seconds(value: str, seconds: float) -> None:
    assert pause_s(retry_after=value) == seconds


def test_milliseconds_are_more_exact() -> None:
    assert pause_s(retry_after="2", retry_after_ms="1250") == 1.25


def test_milliseconds_that_make_no_sense_leave_the_seconds() -> None:
    assert pause_s(retry_after="2", retry_after_ms="soon") == 2


def test_a_date_to_come() -> None:
    assert pause_s(retry_after="Sun, 01 Mar 2026 12:00:30 GMT") == 30


def test_a_date_in_another_zone() -> None:
    at = (NOW + timedelta(seconds=9)).astimezone(timezone(timedelta(hours=-5)))
    assert pause_s(retry_after=format_datetime(at)) == 9


def test_a_date_without_a_zone_is_utc() -> None:
    assert pause_s(retry_after="Sun, 01 Mar 2026 12:00:30 -0000") == 30


def test_a_date_that_has_passed_is_no_pause() -> None:
    assert pause_s(retry_after="Sun, 01 Mar 2026 11:00:00 GMT") == 0


def test_a_date_is_measured_from_now() -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=600))
    named_s = parse_retry_after_s({"retry-after": at})
    assert named_s is not None
    assert 300 < named_s <= 600


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "-1",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "12, 30",
        "Sun, 99 Foo 2026 12:00:30 GMT",
        "Sun, 01 Mar 2026 12:00:30 +9999999999999999",
        "Sun, 01 Mar 99999999999 12:00:30 GMT",
    ],
)
def test_nonsense_is_none(value: str) -> None:
    assert pause_s(retry_after=value) is None
    assert pause_s(retry_after_ms=value) is None


@pytest.mark.parametrize("value", ["1e300", "9" * 40, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_pause_for_ever_is_cut_to_what_can_be_reckoned_with(value: str) -> None:
    assert pause_s(retry_after=value) == MAX_PAUSE_S


@given(seconds=st.text(max_size=40), milliseconds=st.text(max_size=40))
def test_whatever_is_named_is_a_pause_or_none(seconds: str, milliseconds: str) -> None:
    named_s = pause_s(retry_after=seconds, retry_after_ms=milliseconds)
    assert named_s is None or 0 <= named_s <= MAX_PAUSE_S
