"""The gateway as its users start it: a process that answers, drains and ends."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtest.provider import StandIn
from tests.support.answers import DONE, chat
from tests.support.configs import gateway_yaml
from tests.support.keys import KEY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

LIMIT_S = 40.0
TOKENS = 6
UVICORN = ("uvicorn", "app.main:app", "--port", "0")
GATEWAY = ("gateway", "serve", "--port", "0")


class Running:
    """A gateway in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.origin = ""

    async def listening(self) -> None:
        """Read its log until it says where it listens."""
        async with asyncio.timeout(LIMIT_S):
            while not self.origin:
                line = await self._line()
                assert line is not None, "it ended instead of listening"
                _, found, rest = line["message"].partition("running on ")
                if found:
                    self.origin = rest.split()[0]

    async def ended(self) -> int:
        """Read its log to the end; its exit code."""
        async with asyncio.timeout(LIMIT_S):
            while await self._line() is not None:
                pass
            return await self.process.wait()

    async def _line(self) -> dict[str, Any] | None:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            return None
        self.lines.append(json.loads(line))
        return self.lines[-1]


@asynccontextmanager
async def started(argv: tuple[str, ...], config: Path) -> AsyncIterator[Running]:
    command, *arguments = argv
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name(command),
        *arguments,
        env={**os.environ, "GATEWAY_CONFIG": str(config)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        running = Running(process)
        await running.listening()
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_answers_drains_and_ends_well_however_it_was_started(
    tmp_path: Path,
) -> None:
    async with StandIn("alpha", tokens=TOKENS, tokens_per_s=10) as provider:
        config = tmp_path / "gateway.yaml"
        config.write_text(
            gateway_yaml(
                {"alpha": provider.base_url},
                {"chat": ["alpha/m"]},
                policy={},
                store={"url": "embedded"},
                server={"drain_timeout_s": 20},
            )
        )
        by_serve, by_uvicorn = await asyncio.gather(
            lived(GATEWAY, config), lived(UVICORN, config)
        )

    assert by_serve == 0
    # Uvicorn ends by the signal that it was sent, once it has drained.
    assert by_uvicorn in (0, -signal.SIGTERM)


async def lived(argv: tuple[str, ...], config: Path) -> int:
    """Start one, ask it, end it in the middle of a stream; its exit code."""
    headers = {"authorization": f"Bearer {KEY}"}
    async with (
        started(argv, config) as running,
        httpx.AsyncClient(
            base_url=running.origin, headers=headers, timeout=LIMIT_S, trust_env=False
        ) as client,
    ):
        ready = await client.get("/readyz")
        assert ready.json() == {"status": "ready"}
        body = chat("chat", stream=True)
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            pieces = response.aiter_text()
            text = await anext(pieces)
            running.process.send_signal(signal.SIGTERM)
            async for piece in pieces:
                text += piece
        code = await running.ended()

    assert all(f'alpha-{at}"' in text for at in range(TOKENS))
    assert text.endswith(f"data: {DONE}\n\n")
    messages = [line["message"] for line in running.lines]
    assert messages.count("access") == 1
    assert not [
        line for line in running.lines if line.get("logger") == "uvicorn.access"
    ]
    assert "stopped" in messages
    assert not [line for line in running.lines if line["level"] == "error"]
    return code
