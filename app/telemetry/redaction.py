"""What may not leave in a log line or a span: secrets, by key and by shape.

Rule: masks what looks like a secret rather too often than too rarely, and turns
whatever it is given into plain JSON values, so that what comes after it cannot fail.
It is the last step before rendering.
"""

import math
import re
from collections.abc import Mapping, Sequence, Set
from functools import lru_cache

type Plain = bool | int | float | str | list[Plain] | dict[str, Plain] | None

MASK = "[redacted]"
TRUNCATED = "[truncated]"

_MAX_DEPTH = 8
_MAX_ITEMS = 200
_MAX_TEXT = 16_384
_INT64 = 1 << 63

_SECRET_KEYS = frozenset(
    {
        *("authorization", "proxyauthorization", "apikey", "xapikey", "key"),
        *("password", "passwd", "passphrase", "secret", "token", "bearer"),
        *("cookie", "setcookie", "credential", "credentials", "dsn"),
    }
)
_SECRET_ENDINGS = (
    *("apikey", "secretkey", "privatekey", "accesskey", "password", "passwd"),
    *("secret", "credentials", "authorization", "cookie"),
    *("accesstoken", "refreshtoken", "authtoken", "sessiontoken", "bearertoken"),
)
_NOT_ALNUM = re.compile(r"[^a-z0-9]")

# Keys are masked at a word's start however short; in the middle of a word (behind an
# escaped newline, say) only when long, or "task-…" would be masked. The user part of
# a URL goes whole. No pattern can match the same text in two ways: linear time.
_SECRET_VALUES = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|bw)-[A-Za-z0-9_\-]{3,}"
    r"|(?:sk|bw)-[A-Za-z0-9_\-]{16,}"
    r"|(?<![A-Za-z0-9])(?:(?i:bearer)|B(?:asic|ASIC))(?:\s|%20|\\[nrt])+[A-Za-z0-9._~+/=\-]{4,}"
    r"|(?<![A-Za-z0-9])eyJ[A-Za-z0-9_\-]{6,}(?:\.[A-Za-z0-9_\-]+)*"
    r"|(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|(?<=://)[^/\s@\"']+(?=@)"
)


# Tells cheaply that a text holds no secret, as nearly all do. It finds whatever
# `_SECRET_VALUES` finds; beginning with one set of characters makes it fast.
_HINT = re.compile(
    r"[sbBeA:](?:[kw]-|[Ee][Aa][Rr][Ee][Rr]|[Aa][Ss][Ii][Cc]|yJ|[KS]IA|//)"
)


@lru_cache(maxsize=1024)
def _name(key: str) -> tuple[str, bool]:
    """Return how `key` is written, and whether it names a secret."""
    name = _NOT_ALNUM.sub("", key.lower())
    secret = name in _SECRET_KEYS or name.endswith(_SECRET_ENDINGS)
    return redact_text(key), secret


def redact_text(text: str) -> str:
    """Return `text` with everything masked that looks like a secret.

    The result can be encoded as UTF-8 and is of bounded length.
    """
    if len(text) > _MAX_TEXT:
        # Cut inside a secret, its rest may be too short to be recognised: mask first.
        text = _SECRET_VALUES.sub(MASK, text[: 2 * _MAX_TEXT])[:_MAX_TEXT] + TRUNCATED
    elif _HINT.search(text) is not None:
        text = _SECRET_VALUES.sub(MASK, text)
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text


def redact_fields(fields: Mapping[str, object]) -> dict[str, Plain]:
    """Return `fields` as plain JSON values with every secret masked.

    Objects become their text; nesting and length are bounded, so that cycles end.
    Never raises.
    """
    return _mapping(fields, _MAX_DEPTH)


def _plain(value: object, depth: int) -> Plain:
    match value:
        case str():
            return redact_text(value)
        case None | bool():
            return value
        case int():
            return int(value) if -_INT64 <= value < _INT64 else "[big number]"
        case float():
            return float(value) if math.isfinite(value) else str(value)
        case dict():
            return _mapping(value, depth) if depth > 0 else TRUNCATED
        case _ if depth <= 0:
            return TRUNCATED
        case Mapping():
            return _mapping(value, depth)
        case bytes() | bytearray():
            return redact_text(bytes(value[:_MAX_TEXT]).decode("utf-8", "replace"))
        case Sequence() | Set():
            return _list(value, depth)
        case _:
            return redact_text(text_of(value))


def _mapping(fields: Mapping[str, object], depth: int) -> dict[str, Plain]:
    plain: dict[str, Plain] = {}
    try:
        for key, value in fields.items():
            if len(plain) >= _MAX_ITEMS:
                plain[TRUNCATED] = True
                break
            name, secret = _name(key if type(key) is str else text_of(key))
            if secret and value is not None:
                plain[name] = MASK
            else:
                plain[name] = _plain(value, depth - 1)
    except Exception:  # a mapping of somebody's that does not hold still
        plain[TRUNCATED] = True
    return plain


def _list(values: Sequence[object] | Set[object], depth: int) -> list[Plain]:
    plain: list[Plain] = []
    try:
        for value in values:
            if len(plain) >= _MAX_ITEMS:
                plain.append(TRUNCATED)
                break
            plain.append(_plain(value, depth - 1))
    except Exception:  # a sequence of somebody's, likewise
        plain.append(TRUNCATED)
    return plain


def text_of(value: object) -> str:
    """Return `str(value)`, or the name of its type if that fails."""
    try:
        return str(value)
    except Exception:  # a __str__ of somebody's; logging never raises
        return f"<{type(value).__name__}>"
