"""What every dialect can do: four pure functions and a description of the wire.

Rule: a dialect is stateless and shared by all requests; whatever a stream needs to
remember lives with its reader.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.domain import Chunk, Usage
from app.errors import UpstreamError


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request in a dialect's form: path below the base URL, headers, body."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer: the JSON for the client, and what it used."""

    body: dict[str, Any]
    usage: Usage | None
    finish_reason: str | None


class Provider(Protocol):
    """One wire dialect."""

    def build_chat(
        self, body: Mapping[str, Any], *, model: str, api_key: str | None, stream: bool
    ) -> Prepared:
        """Return the upstream request for a client's chat body.

        `stream` is what the upstream is asked for, whatever the client asked for.
        """
        ...

    def parse_event(self, raw: bytes, data: bytes | None) -> Chunk:
        """Return what one server-sent event means.

        Raises:
            UpstreamGarbled: it is not valid in this dialect.
            StreamBroken: it is an error frame.
        """
        ...

    def parse_answer(self, body: bytes) -> Answer:
        """Return a complete, unstreamed answer.

        Raises:
            UpstreamGarbled: it is not one.
        """
        ...

    def parse_error(
        self, status: int, headers: Mapping[str, str], body: bytes, *, target: str
    ) -> UpstreamError:
        """Return the domain error of an answer that is not a success."""
        ...
