"""What is wrong with a configuration, said so that it can be mended.

Rule: every problem names file, line and place, what is wrong and what to do; names
are quoted, values are not: they might be secrets. All problems are told together.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from app.config.source import Location

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    `line` counts from 1, and is 0 when there is none; `path` is empty when the whole
    file is meant.
    """

    file: str
    line: int
    path: str
    what: str
    fix: str

    def __str__(self) -> str:
        """Return it as one line: `file:line: path: what. What to do.`"""
        line = f"{self.line}:" if self.line else ""
        place = f" {self.path}:" if self.path else ""
        return f"{self.file}:{line}{place} {self.what}. {self.fix}".rstrip()


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem before its line is looked up; `line` when it is known already."""

    location: Location
    what: str
    fix: str
    line: int = 0

    @property
    def path(self) -> str:
        """The place as it is spoken of."""
        return dotted(self.location)


class ConfigError(Exception):
    """A configuration cannot be used; `problems` are in the order of their lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(
            sorted(problems, key=lambda problem: (problem.line, problem.path))
        )
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ConfigUnreadable(ConfigError):
    """The file is not there or cannot be read."""


def dotted(location: Location) -> str:
    """Return `location` as it is spoken of: `routes.chat.targets[0].provider`."""
    told = ""
    for part in location:
        if isinstance(part, int):
            told += f"[{part}]"
        elif not _PLAIN.fullmatch(part):
            told += f'["{part}"]'
        else:
            told += f".{part}" if told else part
    return told


def nearest(name: str, known: Sequence[str]) -> str:
    """Return what to do about `name`, which is none of `known`."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"Did you mean `{close[0]}`?"
    if not known:
        return "There is none."
    return "Use one of: " + ", ".join(f"`{one}`" for one in sorted(known)) + "."
