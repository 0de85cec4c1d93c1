"""Puts a streamed chat completion together again, for a client that did not stream.

Rule: the result has the shape of an unstreamed answer of the same dialect. Texts are
concatenated, lists are merged by `index`, everything else is the last value seen;
fields that nobody here knows are kept the same way.
"""

from typing import Any

# Strings that name something, and so are replaced and never concatenated.
_NAMES = frozenset({"role", "type", "id", "name", "format", "finish_reason", "model"})


class ChatAssembly:
    """Collects the parsed chunks of one stream."""

    def __init__(self) -> None:
        self._top: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, chunk: dict[str, Any]) -> None:
        """Merge one parsed chunk."""
        for name, value in chunk.items():
            if name == "choices":
                for choice in value:
                    self._add_choice(choice)
            elif value is not None or name not in self._top:
                self._top[name] = value

    def result(self) -> dict[str, Any]:
        """Return the complete answer."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        for choice in choices:
            for tool_call in choice["message"].get("tool_calls") or ():
                tool_call.pop("index", None)  # only chunks number their tool calls
        answer = {**self._top, "object": "chat.completion", "choices": choices}
        return answer

    def _add_choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index", 0)
        whole = self._choices.setdefault(
            index,
            {
                "index": index,
                "message": {"role": "assistant", "content": None},
                "finish_reason": None,
            },
        )
        for name, value in choice.items():
            if name == "delta":
                _merge(whole["message"], value or {})
            elif name == "logprobs" and value:
                _merge(whole.setdefault("logprobs", {}), value)
            elif value is not None or name not in whole:
                whole[name] = value


def _merge(whole: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        before = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif isinstance(value, list):
            whole[name] = _merge_list(before or [], value)
        elif isinstance(value, dict):
            merged = before if isinstance(before, dict) else {}
            _merge(merged, value)
            whole[name] = merged
        elif isinstance(value, str) and isinstance(before, str) and name not in _NAMES:
            whole[name] = before + value
        else:
            whole[name] = value


def _merge_list(whole: list[Any], pieces: list[Any]) -> list[Any]:
    """Merge by the items' own `index` (tool calls); items without one are appended."""
    for piece in pieces:
        index = piece.get("index") if isinstance(piece, dict) else None
        if index is None:
            whole.append(piece)
            continue
        known = next((item for item in whole if item.get("index") == index), None)
        if known is None:
            known = {}
            whole.append(known)
        _merge(known, piece)
    return whole
