"""What URLs and hashes in gateway.yaml must look like.

Rule: each function returns the value as it is kept, or raises a ValueError whose text
says what is wrong and never quotes the value, which may hold a secret.
"""

import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

_HTTP = ("http", "https")
_STORES = ("redis", "rediss", "valkey", "valkeys")


def base_url(url: str) -> str:
    """Return where a provider's API begins, without a slash at the end."""
    parts = _split(url, _HTTP, "a URL such as https://api.example.com/v1")
    if "@" in parts.netloc:
        raise ValueError("must not hold credentials; put them into api_key")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or a fragment")
    path = parts.path.rstrip("/")
    if path.endswith(("/chat/completions", "/chat")):
        raise ValueError("must end before /chat/completions, which is added to it")
    return f"{parts.scheme}://{parts.netloc}{path}"


def sha256(digest: str) -> str:
    """Return a SHA-256 in lower case."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise ValueError(
            "must be the SHA-256 of the key, 64 hexadecimal digits "
            "(`gateway keys generate` prints one)"
        )
    return digest.lower()


def store_url(url: str) -> str:
    """Return `embedded`, `none`, or the URL of a Redis or Valkey."""
    if url not in ("embedded", "none"):
        _split(url, _STORES, "embedded, none, or redis://host:port or valkey://…")
    return url


def endpoint(url: str) -> str:
    """Return the URL of an OTLP collector."""
    _split(url, _HTTP, "a URL such as http://collector:4318")
    return url


def holds_password(url: str) -> bool:
    """Whether `url` brings its own credentials."""
    return "@" in url.partition("://")[2]


def _split(url: str, schemes: Collection[str], wanted: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in schemes and parts.hostname and parts.port != 0
    except ValueError:  # its text quotes parts of the URL, perhaps of a password
        fits = False
    if not fits or any(character.isspace() for character in url):
        raise ValueError(f"must be {wanted}")
    return parts
