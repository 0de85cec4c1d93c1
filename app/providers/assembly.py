"""Puts a streamed chat completion together again, for a client that did not stream.

Rule: the result has the shape of an unstreamed answer of the same dialect. Texts are
concatenated, lists are merged by `index`, everything else is the last value seen;
fields that nobody here knows are kept the same way. A chunk whose known fields have
another type than the dialect gives them makes the whole answer garbled: it is never
guessed at.
"""

from typing import Any

from app.errors import UpstreamGarbled

# Strings that name something, and so are replaced and never concatenated.
_NAMES = frozenset({"role", "type", "id", "name", "format", "finish_reason", "model"})


class ChatAssembly:
    """Collects the parsed chunks of one stream, which stay as they are."""

    def __init__(self) -> None:
        self._top: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, chunk: dict[str, Any]) -> None:
        """Merge one parsed chunk.

        Raises:
            UpstreamGarbled: it is not one of this dialect.
        """
        for name, value in chunk.items():
            if name == "choices":
                for choice in _list_of_objects(value, "choices"):
                    self._add_choice(choice)
            elif value is not None or name not in self._top:
                self._top[name] = value

    def result(self) -> dict[str, Any]:
        """Return the complete answer."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        for choice in choices:
            tool_calls = choice["message"].get("tool_calls")
            if tool_calls:
                choice["message"]["tool_calls"] = _in_order(tool_calls)
        return {**self._top, "object": "chat.completion", "choices": choices}

    def _add_choice(self, choice: dict[str, Any]) -> None:
        index = _index(choice)
        whole = self._choices.setdefault(
            index or 0,
            {
                "index": index or 0,
                "message": {"role": "assistant", "content": None},
                "finish_reason": None,
            },
        )
        for name, value in choice.items():
            if name == "delta":
                _merge_delta(whole["message"], value)
            elif name == "logprobs":
                _merge(whole, {name: _object_or_none(value, name)})
            elif name != "index" and (value is not None or name not in whole):
                whole[name] = value


def _merge_delta(message: dict[str, Any], value: Any) -> None:
    delta = _object_or_none(value, "a delta") or {}
    for tool_call in _list_of_objects(delta.get("tool_calls"), "tool calls"):
        _index(tool_call)
    _merge(message, delta)


def _merge(whole: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        before = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif isinstance(value, list):
            whole[name] = before if isinstance(before, list) else []
            _merge_list(whole[name], value)
        elif isinstance(value, dict):
            whole[name] = before if isinstance(before, dict) else {}
            _merge(whole[name], value)
        elif isinstance(value, str) and isinstance(before, str) and name not in _NAMES:
            whole[name] = before + value
        else:
            whole[name] = value


def _merge_list(whole: list[Any], pieces: list[Any]) -> None:
    """Merge by the items' own `index` (tool calls); items without one are appended."""
    for piece in pieces:
        index = piece.get("index") if isinstance(piece, dict) else None
        if index is None:
            whole.append(piece)
            continue
        known = next(
            (i for i in whole if isinstance(i, dict) and i.get("index") == index), None
        )
        if known is None:
            known = {}
            whole.append(known)
        _merge(known, piece)


def _in_order(tool_calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort by `index`, which only chunks have; those without one come last."""
    numbered = [call for call in tool_calls if call.get("index") is not None]
    numbered.sort(key=lambda call: int(call["index"]))
    rest = [call for call in tool_calls if call.get("index") is None]
    return [
        {name: value for name, value in call.items() if name != "index"}
        for call in (*numbered, *rest)
    ]


def _index(item: dict[str, Any]) -> int | None:
    index = item.get("index")
    if index is None or type(index) is int:
        return index
    raise UpstreamGarbled(detail="an index is not an integer")


def _object_or_none(value: Any, what: str) -> dict[str, Any] | None:
    if value is None or isinstance(value, dict):
        return value
    raise UpstreamGarbled(detail=f"{what} is not an object")


def _list_of_objects(value: Any, what: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    raise UpstreamGarbled(detail=f"{what} are not a list of objects")
