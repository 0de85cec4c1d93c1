"""What URLs and hashes in gateway.yaml must look like.

Rule: each function returns the value as it is kept, or raises a ValueError whose text
says what is wrong and never quotes the value, which may hold a secret.
"""

import re
from urllib.parse import urlsplit


def base_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL such as https://api.example.com/v1")
    if parts.username or parts.password:
        raise ValueError("must not hold credentials; put them into api_key")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or a fragment")
    _ = parts.port  # raises ValueError when it is out of range
    path = parts.path.rstrip("/")
    if path.endswith("/chat/completions"):
        raise ValueError("must be the base, without /chat/completions")
    return f"{parts.scheme}://{parts.netloc}{path}"


def sha256(digest: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise ValueError(
            "must be the SHA-256 of the key as 64 hexadecimal digits; "
            "`gateway keys generate` prints one"
        )
    return digest.lower()


_STORES = ("redis", "rediss", "valkey", "valkeys")


def store_url(url: str) -> str:
    if url in ("embedded", "none"):
        return url
    parts = urlsplit(url)
    if parts.scheme not in _STORES or not parts.hostname:
        raise ValueError("must be embedded, none, or redis://… or valkey://…")
    _ = parts.port
    return url


def endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL such as http://collector:4318")
    return url
