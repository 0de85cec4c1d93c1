"""The pause that a provider asks for, from its answer's headers.

`Retry-After` by RFC 9110 section 10.2.3: seconds or an HTTP date; `retry-after-ms` is
what OpenAI and Azure send beside it, and more exact. Pure.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite

MAX_PAUSE_S = 30 * 86_400.0
"""What is named beyond this is a broken header; it is cut, so that it can be summed."""


def parse_retry_after_s(
    headers: Mapping[str, str], *, now: datetime | None = None
) -> float | None:
    """Return the pause in seconds, never negative; None if none is named.

    `headers` are looked up by lower-case name. A value that makes no sense counts as
    none.
    """
    pause_s = _named_s(headers, now or datetime.now(UTC))
    return None if pause_s is None else min(pause_s, MAX_PAUSE_S)


def _named_s(headers: Mapping[str, str], now: datetime) -> float | None:
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    named = headers.get("retry-after")
    seconds = _number(named)
    if seconds is not None or named is None:
        return seconds
    try:
        at = parsedate_to_datetime(named)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) and number >= 0 else None
