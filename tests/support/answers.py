"""What a client got, and how to read it."""

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

DONE = "[DONE]"
MESSAGES = [{"role": "user", "content": "Say something"}]


def chat(model: str, **fields: object) -> dict[str, object]:
    """The body of a chat completion."""
    return {"model": model, "messages": MESSAGES, **fields}


class Chunks(NamedTuple):
    """A body as it came; `whole` is false if the connection ended before it did."""

    data: bytes
    whole: bool


@dataclass(frozen=True)
class Answer:
    """One answer, plain or streamed."""

    status: int
    headers: dict[str, str]
    body: Chunks

    @property
    def json(self) -> Any:
        """The body of a plain answer."""
        assert self.body.whole
        return json.loads(self.body.data)

    @property
    def error(self) -> dict[str, Any]:
        """What a plain answer's error says."""
        error: dict[str, Any] = self.json["error"]
        return error

    @property
    def request_id(self) -> str:
        """The id that the answer carries."""
        return self.headers["x-request-id"]

    @property
    def attempts(self) -> int:
        """How many sends it took."""
        return int(self.headers["x-gateway-attempts"])

    @property
    def events(self) -> list[str]:
        """The data of each event of a stream, in order."""
        assert self.headers["content-type"].startswith("text/event-stream")
        assert self.body.whole, "a stream ends by its framing, whatever it says"
        blocks = self.body.data.decode().replace("\r\n", "\n").split("\n\n")
        assert blocks[-1] == "", "the last event is cut off"
        return [
            block.removeprefix("data: ")
            for block in blocks[:-1]
            if block.startswith("data: ")
        ]

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The JSON of each event but the sentinel."""
        return [json.loads(event) for event in self.events if event != DONE]

    @property
    def tokens(self) -> list[str]:
        """The content of each event that brings some."""
        return [
            choice["delta"]["content"]
            for document in self.documents
            for choice in document.get("choices", ())
            if choice["delta"].get("content")
        ]

    @property
    def text(self) -> str:
        """The answer's words, streamed or not."""
        if self.headers["content-type"].startswith("text/event-stream"):
            return "".join(self.tokens)
        content: str = self.json["choices"][0]["message"]["content"] or ""
        return content

    @property
    def complete(self) -> bool:
        """Whether it says that it is a whole answer."""
        if self.status != 200 or not self.body.whole:
            return False
        if not self.headers["content-type"].startswith("text/event-stream"):
            return self.json["choices"][0]["finish_reason"] is not None
        return self.events[-1] == DONE and self.broken is None

    @property
    def broken(self) -> dict[str, Any] | None:
        """The error event that ends a broken stream, if one does."""
        error: dict[str, Any] | None = self.documents[-1].get("error")
        return error
