"""What is asked of a provider, and the headers of its answer, free of any library.

Values only: no I/O and nothing that knows a provider's dialect.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """A request to a provider, complete but for `host` and `content-length`.

    `target` (`provider/model`) names whom an error is about.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    target: str = ""


class ResponseHeaders(Mapping[str, str]):
    """Headers by name in any case; a repeated one is joined by commas."""

    __slots__ = ("_values",)

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in raw:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            known = self._values.get(key)
            self._values[key] = text if known is None else f"{known}, {text}"

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
