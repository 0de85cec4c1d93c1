"""Looks up a client by the key it presents.

Rule: only SHA-256 digests are kept; a presented key is hashed and the digest looked
up, so that neither memory nor timing tells anything about a key. Which header a key
comes in is the API's business.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from app.domain import Client
from app.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One configured key. `expires` is the first moment at which it is not valid."""

    client: Client
    expires: datetime | None = None


class Keyring:
    """The keys that are valid now: SHA-256 digest (32 bytes) to entry."""

    def __init__(
        self,
        entries: Mapping[bytes, KeyEntry],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._entries = dict(entries)
        self._now = now

    def find(self, presented: str | None) -> Client:
        """Return the client that `presented` belongs to.

        Raises:
            Unauthenticated: no key, an unknown one, or one that has expired.
        """
        if not presented:
            raise Unauthenticated
        digest = hashlib.sha256(presented.encode("utf-8", "surrogatepass")).digest()
        entry = self._entries.get(digest)
        if entry is None:
            raise Unauthenticated
        if entry.expires is not None and self._now() >= entry.expires:
            raise Unauthenticated("This API key has expired.")
        return entry.client
