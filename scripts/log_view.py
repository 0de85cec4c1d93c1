"""The gateway's log while it is written: followed, and made readable for a person.

The rule it keeps: nothing of a line is lost; one that is not JSON is shown as it is.
"""

import json
from pathlib import Path
from typing import Any

from rich.text import Text

# Said by every line of one process, or shown apart.
_APART = ("timestamp", "level", "message", "requestId", "service", "environment")
_COLOURS = {"warning": "yellow", "error": "red", "critical": "bold red"}


class Follower:
    """Reads what is added to a file. Keeps half a line until the rest is there."""

    def __init__(self, log: Path) -> None:
        self._log = log.open(encoding="utf-8", errors="replace")
        self._half = ""

    def lines(self) -> list[str]:
        """Return the whole lines that were added since the last look."""
        *whole, self._half = (self._half + self._log.read()).split("\n")
        return whole

    def close(self) -> None:
        """Close the file."""
        self._log.close()


def readable(line: str) -> Text:
    """Return a JSON log line as `time level message key=value …`, with colours."""
    try:
        entry = json.loads(line)
    except ValueError:
        return Text(line)
    if not isinstance(entry, dict):
        return Text(line)
    level = str(entry.get("level", ""))
    colour = _COLOURS.get(level, "")
    text = Text()
    text.append(f"{_time_of_day(str(entry.get('timestamp', '')))} ", "dim")
    text.append(f"{level:<8}", colour)
    text.append(f"{entry.get('message', ''):<14} ", colour or "bold")
    text.append(_details(entry))
    if entry.get("requestId"):
        text.append(f" {entry['requestId']}", "dim")
    return text


def _details(entry: dict[str, Any]) -> str:
    return " ".join(
        f"{name}={_short(value)}"
        for name, value in entry.items()
        if name not in _APART and value is not None
    )


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _time_of_day(timestamp: str) -> str:
    """Return the time of an ISO 8601 timestamp, to the millisecond."""
    return timestamp.partition("T")[2][:12] or timestamp
