"""The gateway's log as `make dev` shows it."""

import json
from pathlib import Path

import pytest

from scripts.log_view import Follower, readable


def test_a_line_is_shown_once_it_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    log.write_text("one\ntw")
    follower = Follower(log)
    assert follower.lines() == ["one"]
    with log.open("a") as more:
        more.write("o\nthree\n")
    assert follower.lines() == ["two", "three"]
    assert follower.lines() == []
    follower.close()


def test_a_log_line_becomes_readable_and_loses_nothing_that_differs() -> None:
    line = {
        "timestamp": "2026-11-22T00:43:48.464+00:00",
        "level": "warning",
        "message": "fallback",
        "requestId": "req_1",
        "service": "breakwater",
        "environment": "development",
        "toProvider": "beta",
        "latencyMs": 12.5,
        "errorType": None,
    }
    assert readable(json.dumps(line)).plain == (
        "00:43:48.464 warning fallback       toProvider=beta latencyMs=12.5 req_1"
    )


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "[1]", ""])
def test_a_line_that_is_no_log_entry_is_shown_as_it_is(line: str) -> None:
    assert readable(line).plain == line
