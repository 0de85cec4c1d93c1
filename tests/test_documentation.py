"""What the documents promise is there."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app import cli
from app.api.error_table import STATUS
from app.config import parse
from app.errors import (
    EmbeddedStoreMissing,
    StoreUnavailable,
    StreamBroken,
    UpstreamError,
    UpstreamRefused,
)
from loadtest.provider import StandIn
from tests.support.configs import gateway_yaml
from tests.support.gateway import RunningGateway
from tests.support.keys import KEY

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for folder in ("", "docs/**/", "chaos/*/**/", "chaos/", "loadtest/**/")
    for page in ROOT.glob(f"{folder}*.md")
    if "report" not in page.parts
)
README = (ROOT / "README.md").read_text("utf-8")


def _shown(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_shown)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", text)
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=_shown)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    )
    text = page.read_text("utf-8")
    named = set(re.findall(r"(?:`|^|-- )make ([a-z-]+)", text, re.M))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=_shown)
def test_every_gateway_command_that_is_named_exists(page: Path) -> None:
    commands = {"serve", "check", "schema", "openapi", "keys"}
    text = page.read_text("utf-8")
    code = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M))
    named = set(re.findall(r"`gateway ([a-z]+)", text))
    named |= set(re.findall(r"^gateway ([a-z]+)", code, re.M))
    assert named <= commands


def test_every_command_teaches() -> None:
    runner = CliRunner()
    for words in ([], ["serve"], ["check"], ["schema"], ["openapi"], ["keys"]):
        shown = runner.invoke(cli.main, [*words, "--help"])
        assert shown.exit_code == 0
        assert "gateway" in shown.output


def test_every_error_that_a_client_may_get_is_documented_with_its_status() -> None:
    """An attempt's own errors reach clients only as what the chain makes of them."""
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    hidden = (StoreUnavailable, EmbeddedStoreMissing, UpstreamError)
    later = {"insufficient_quota"}  # quotas come with a later version
    for error, status in STATUS.items():
        told = not issubclass(error, hidden) or issubclass(error, UpstreamRefused)
        if told and error.code not in later:
            assert any(
                f"| {status} |" in row and f"`{error.code}`" in row for row in rows
            )
    assert f'"{StreamBroken.code}"' in page


def test_the_configuration_that_the_readme_explains_can_be_used() -> None:
    block = re.search(r"```yaml\n(.*?)```", README, re.S)
    assert block is not None
    config = parse(block[1], {"OPENAI_API_KEY": "any"}, file=Path("README.md"))
    assert [target.name for target in config.routes["chat"].targets] == [
        "openai/gpt-4o-mini",
        "vllm/Qwen/Qwen3-8B",
    ]
    assert len(block[1].splitlines()) <= 32


async def test_the_readme_s_lines_for_the_sdk_print_an_answer(tmp_path: Path) -> None:
    """The snippet runs as it stands; only the address and the key are put in."""
    block = re.search(r"```python\n(.*?)```", README, re.S)
    assert block is not None
    async with StandIn(name="alpha", tokens=3) as alpha:
        config = gateway_yaml({"a": alpha.base_url}, {"chat": ["a/m"]})
        async with RunningGateway(config) as gateway:
            code = block[1].replace("http://127.0.0.1:8080", gateway.origin)
            script = tmp_path / "snippet.py"
            script.write_text(code.replace("bw-…", KEY), "utf-8")
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(script),
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "NO_PROXY": "*"},
            )
            printed, _ = await process.communicate()
    assert (process.returncode, printed.decode()) == (0, "alpha-0 alpha-1 alpha-2")
