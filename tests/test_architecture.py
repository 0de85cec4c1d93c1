"""The architecture is kept, and what is supposed to keep it does."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("app", "resilience", "loadtest/provider", "scripts")
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 50
BANNED_NAMES = {"utils", "helpers", "common", "manager", "handler", "base"}

# What is planted, and the contract that must break because of it.
VIOLATIONS = {
    "the library imports the gateway": (
        "resilience/window.py",
        "import app.domain",
        "the resilience library knows nothing of the gateway",
    ),
    "a lower layer imports a higher one": (
        "app/quota/ledger.py",
        "import app.gateway.service",
        "the gateway's layers import downwards only",
    ),
    "siblings import each other": (
        "app/keys/keyring.py",
        "import app.store.connection",
        "the gateway's layers import downwards only",
    ),
    "a module outside every layer": (
        "app/stray.py",
        "",
        "the gateway's layers import downwards only",
    ),
    "the request path imports the web framework": (
        "app/gateway/service.py",
        "import fastapi",
        "FastAPI and Starlette stay in app.api",
    ),
    "the API reads the configuration": (
        "app/api/chat.py",
        "import app.config",
        "only main, cli, composition and chains see the configuration",
    ),
    "a dialect opens connections": (
        "app/providers/openai.py",
        "import aiohttp",
        "dialects translate and do nothing else",
    ),
    "a dialect waits": (
        "app/providers/openai.py",
        "import asyncio",
        "dialects do not import asyncio themselves",
    ),
    "httpx elsewhere": (
        "app/gateway/attempt.py",
        "import httpx",
        "httpx is imported by app.upstream.transport alone",
    ),
    "aiohttp elsewhere": (
        "app/gateway/attempt.py",
        "import aiohttp",
        "aiohttp stays in app.upstream",
    ),
    "redis elsewhere": (
        "app/quota/ledger.py",
        "import redis",
        "the store's client stays in app.store",
    ),
    "metrics made elsewhere": (
        "app/gateway/service.py",
        "import prometheus_client",
        "metrics, tracing and logging libraries stay in app.telemetry",
    ),
    "aiobreaker elsewhere": (
        "resilience/breaker.py",
        "import aiobreaker",
        "aiobreaker is imported by resilience.machine alone",
    ),
    "tenacity elsewhere": (
        "resilience/chain.py",
        "import tenacity",
        "tenacity is imported by resilience.retry alone",
    ),
    "the library needs more": (
        "resilience/call.py",
        "import orjson",
        "the resilience library needs nothing but tenacity and aiobreaker",
    ),
}


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what the contracts are about."""
    for package in ("app", "resilience"):
        shutil.copytree(
            ROOT / package,
            tmp_path / package,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_is_kept(copy: Path) -> None:
    """The code as it stands breaks no contract."""
    result = _lint_imports(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", VIOLATIONS)
def test_each_deliberate_violation_is_caught(copy: Path, name: str) -> None:
    """A planted violation breaks the contract that is there against it."""
    file, line, contract = VIOLATIONS[name]
    path = copy / file
    source = path.read_text("utf-8") if path.exists() else '"""Stray."""\n'
    path.write_text(f"{source}\n{line}\n", "utf-8")
    result = _lint_imports(copy)
    assert result.returncode != 0
    assert f"{contract} BROKEN" in result.stdout


def test_every_contract_has_a_violation_that_proves_it() -> None:
    """No contract is there that could be a dead letter."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    named = {
        line.split('"')[1]
        for line in text.split("[tool.importlinter]")[1].splitlines()
        if line.startswith("name = ")
    }
    assert named == {contract for _, _, contract in VIOLATIONS.values()}


def _modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")


def test_modules_stay_short() -> None:
    """No module is longer than a reader can keep in mind."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in _modules()
        if (lines := len(path.read_text("utf-8").splitlines())) > MAX_MODULE_LINES
    }
    assert not long


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of code; what the docstring tells and what the signature lists is free."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_functions_stay_short() -> None:
    """No function's body is longer than a screen."""
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in _modules()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and _body_lines(node) > MAX_FUNCTION_LINES
    ]
    assert not long


def test_modules_are_named_for_what_they_hold() -> None:
    """No module has a name that could hold anything."""
    assert not {path.stem for path in _modules()} & BANNED_NAMES


def test_every_module_says_what_it_is() -> None:
    """Each module opens with a docstring; packages without code may do without."""
    silent = [
        str(path.relative_to(ROOT))
        for path in _modules()
        if path.read_text("utf-8").strip()
        and ast.get_docstring(ast.parse(path.read_text("utf-8"))) is None
    ]
    assert not silent
