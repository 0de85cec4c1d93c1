"""Reads YAML text into plain data, and remembers on which line everything stands.

Rule: stricter than YAML where YAML invites mistakes: a name given twice and a name
that is not text are errors. Knows nothing about what the data means.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

type Location = tuple[str | int, ...]
"""Where something stands: the names and list positions that lead to it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong with the YAML itself. `line` counts from 1."""

    location: Location
    line: int
    what: str
    fix: str


@dataclass(slots=True)
class Source:
    """Plain data with its lines, and what was wrong with the text."""

    data: Any = None
    faults: list[Fault] = field(default_factory=list)
    lines: dict[Location, int] = field(default_factory=dict)

    def line_of(self, location: Location) -> int:
        """Return the line of `location`, or of the closest thing around it."""
        for length in range(len(location), 0, -1):
            line = self.lines.get(location[:length])
            if line is not None:
                return line
        return 1


def read(text: str) -> Source:
    """Return the data of `text`; what is wrong with it is in `faults`."""
    source = Source()
    try:
        _read(text, source)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        what = f"this is not YAML: {exc.problem or exc.context}"
        line = 1 if mark is None else mark.line + 1
        source.faults.append(Fault((), line, what, _LOOK))
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        what = f"this is not YAML: {exc.reason}"
        source.faults.append(Fault((), line, what, "Remove the character."))
    return source


def _read(text: str, source: Source) -> None:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is not None:
            source.data = _Reader(loader, source).value(node, ())
    finally:
        loader.dispose()


_LOOK = "Look at the indentation, quotes and brackets here and just above."


class _Reader:
    """Turns nodes into data."""

    def __init__(self, loader: yaml.SafeLoader, source: Source) -> None:
        self._loader = loader
        self._source = source
        self._open: list[yaml.Node] = []

    def value(self, node: yaml.Node, location: Location) -> Any:
        if any(node is around for around in self._open):
            self._fault(node, location, "an anchor contains itself", "Spell it out.")
            return None
        self._source.lines.setdefault(location, node.start_mark.line + 1)
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return dict(self._pairs(node, location))
            if isinstance(node, yaml.SequenceNode):
                return [
                    self.value(item, (*location, index))
                    for index, item in enumerate(node.value)
                ]
            return self._scalar(node, location)
        finally:
            self._open.pop()

    def _pairs(
        self, node: yaml.MappingNode, location: Location
    ) -> Iterator[tuple[Hashable, Any]]:
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            name, line = str(key_node.value), key_node.start_mark.line + 1
            if name in seen:
                fix = f"Keep one of them; the other is on line {seen[name]}."
                self._fault(key_node, (*location, name), "is given twice", fix)
            seen.setdefault(name, line)
        self._loader.flatten_mapping(node)  # `<<` brings in what an anchor holds
        for key_node, value_node in node.value:
            name = self._scalar(key_node, location)
            if not isinstance(name, str):
                fix = f'Put it into quotes: "{key_node.value}".'
                what = f"the name {key_node.value} is not text to YAML"
                self._fault(key_node, location, what, fix)
                continue
            inner = (*location, name)
            self._source.lines[inner] = key_node.start_mark.line + 1
            yield name, self.value(value_node, inner)

    def _scalar(self, node: yaml.Node, location: Location) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            self._fault(node, location, "a name must be text", "Write a plain name.")
            return None
        try:
            return self._loader.construct_object(node)
        except yaml.constructor.ConstructorError as exc:
            what = f"cannot be read: {exc.problem}"
        except ValueError:  # its text quotes the value
            what = "looks like a number or a date and is none"
        self._fault(node, location, what, "Put it into quotes.")
        return None

    def _fault(self, node: yaml.Node, location: Location, what: str, fix: str) -> None:
        line = node.start_mark.line + 1
        self._source.faults.append(Fault(location, line, what, fix))
