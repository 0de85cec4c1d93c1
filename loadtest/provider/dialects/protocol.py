"""What a dialect must offer, and the parts that its streams are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from loadtest.provider.answers import Answer, Ask, Refusal


@dataclass(frozen=True, slots=True)
class Frames:
    """A stream as whole events, cut where a fault may want to break it."""

    opening: bytes  # before any content: the role-only delta
    tokens: list[bytes]  # one event per token
    finish: bytes  # the finish reason
    usage: bytes  # the usage event, or nothing
    done: bytes  # the end sentinel


class Endpoint(Protocol):
    """One method and path of a dialect."""

    needs_body: bool

    def read(self, body: dict[str, Any]) -> Ask:
        """What `body` asks for.

        Raises:
            Refused: a field is missing or has the wrong type.
        """
        ...

    def body(self, answer: Answer) -> bytes:
        """The plain answer."""
        ...

    def frames(self, answer: Answer) -> Frames:
        """The streamed answer; called only if `read` said `stream`."""
        ...


class Dialect(Protocol):
    """One provider's API."""

    endpoints: Mapping[tuple[str, str], Endpoint]
    keepalive: bytes  # a comment that carries nothing
    malformed: bytes  # an event whose data is no JSON

    def key_of(self, headers: Mapping[str, str]) -> str:
        """The API key that a request carries, or an empty text."""
        ...

    def error_body(self, refusal: Refusal) -> bytes:
        """The body of an error answer."""
        ...

    def error_frame(self, refusal: Refusal) -> bytes:
        """The same as an event within a stream."""
        ...
