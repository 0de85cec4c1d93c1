"""The gateway's own vocabulary: what moves between its layers.

Rule: plain values without behaviour beyond their own arithmetic; no I/O, no
framework, nothing of a provider's dialect. A chat body stays the parsed JSON that the
client sent (`dict`): it is never modelled field by field.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Client:
    """Whoever a key belongs to. `routes` is None when every route is allowed."""

    key_id: str
    project: str
    routes: frozenset[str] | None = None
    requests_per_minute: int | None = None

    def may_use(self, route: str) -> bool:
        """Return whether this key may ask for `route`."""
        return self.routes is None or route in self.routes


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat completion as the client asked for it.

    `body` is the parsed JSON, untouched; `timeout_s` the client's own deadline;
    `metadata` what the client told about the request (project, feature, userId).
    """

    request_id: str
    client: Client
    route: str
    body: dict[str, Any]
    stream: bool
    include_usage: bool
    timeout_s: float | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens in and out, as the provider counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(slots=True)
class Chunk:
    """One event of a provider's stream.

    `raw` are the bytes to forward, `data` the parsed JSON (None for a comment);
    `tokens` how many pieces of content it carries; `finished` which choices it ends
    (their indexes), and `finish_reason` why; `usage` the provider's count, if this
    event brings it; `usage_only` whether it was sent for accounting alone; `done`
    whether it is the stream's last word.
    """

    raw: bytes
    data: dict[str, Any] | None = None
    tokens: int = 0
    finished: tuple[int, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    usage_only: bool = False
    done: bool = False
