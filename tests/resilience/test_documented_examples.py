"""The library's page: every example does what is shown, every default is as told."""

import inspect
import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

import resilience

PAGE = Path(__file__).parents[2] / "docs" / "resilience.md"
TEXT = PAGE.read_text(encoding="utf-8")

_BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_OUTPUT = re.compile(r"\n\nOutput:\n\n```text\n(?P<told>.*?)^```$", re.M | re.S)
_DEFAULT = re.compile(
    r"^\| `(?P<of>\w+)\((?P<name>\w+)\)` \| (?P<value>[\w.]+) \|", re.MULTILINE
)

EXAMPLES = list(_BLOCK.finditer(TEXT))
DEFAULTS = [(row["of"], row["name"], row["value"]) for row in _DEFAULT.finditer(TEXT)]


def _line(example: re.Match[str]) -> int:
    return TEXT.count("\n", 0, example.start("code"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: f"line-{_line(one) + 1}")
def test_an_example_prints_what_the_page_shows(example: re.Match[str]) -> None:
    shown = _OUTPUT.match(TEXT, example.end())
    assert shown is not None, "every example shows its output right below"
    # The empty lines make the line numbers of a traceback those of the page.
    code = compile("\n" * _line(example) + example["code"], str(PAGE), "exec")
    printed = io.StringIO()

    with redirect_stdout(printed):
        exec(code, {"__name__": "__main__"})  # noqa: S102 - our own page

    assert printed.getvalue() == shown["told"]


@pytest.mark.parametrize("of, name, value", DEFAULTS)
def test_a_default_is_what_the_page_says(of: str, name: str, value: str) -> None:
    parameters = inspect.signature(getattr(resilience, of)).parameters

    assert str(parameters[name].default) == value


def test_the_page_has_examples_and_defaults() -> None:
    assert len(EXAMPLES) >= 8
    assert len(DEFAULTS) >= 30
    assert TEXT.count("```python") == len(EXAMPLES)
    rows = [line for line in TEXT.splitlines() if re.match(r"\| `\w+\(\w+\)", line)]
    assert len(rows) == len(DEFAULTS)


def test_every_public_name_is_on_the_page() -> None:
    missing = [
        name for name in resilience.__all__ if not re.search(rf"\b{name}\b", TEXT)
    ]

    assert missing == []
