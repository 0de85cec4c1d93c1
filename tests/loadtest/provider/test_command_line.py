"""The command: ready line, signals, help."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from loadtest.provider import KINDS, StandIn
from loadtest.provider.__main__ import main
from tests.loadtest.provider.wire_client import LIMIT_S, ask, chat, connected, request

COMMAND = [sys.executable, "-m", "loadtest.provider"]


@asynccontextmanager
async def running(*flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *flags, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ready_port(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        line = (await process.stdout.readline()).decode()
    word, origin = line.split()
    host, _, port = origin.rpartition(":")
    assert (word, host) == ("ready", "http://127.0.0.1")
    return int(port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_when_it_is_ready_and_ends_on_a_signal(
    number: signal.Signals,
) -> None:
    flags = ["--port=0", "--name=beta", "--tokens=3", "--first-token-ms=0"]
    async with running(*flags, "--tokens-per-s=0") as process:
        seen = await ask(await ready_port(process), chat())
        process.send_signal(number)
        async with asyncio.timeout(LIMIT_S):
            status = await process.wait()

    assert seen.json["choices"][0]["message"]["content"] == "beta-0 beta-1 beta-2"
    assert status == 0


async def test_a_signal_ends_it_in_the_middle_of_answers() -> None:
    async with running("--port=0") as process:
        port = await ready_port(process)
        asking = [
            asyncio.create_task(ask(port, chat(model="fault.keepalives")))
            for _ in range(3)
        ]
        while (await ask(port, method="GET", path="/control/log")).json["count"] < 3:
            pass
        process.terminate()
        async with asyncio.timeout(LIMIT_S):
            assert await process.wait() == 0
        await asyncio.gather(*asking, return_exceptions=True)


async def test_its_event_loop_ends_connections_the_same_way() -> None:
    """The command runs on uvloop, the other tests on asyncio's own loop."""
    ends = {
        "fault.reset": (0, "reset"),
        "fault.close": (0, "fin"),
        "fault.cut?after_tokens=2": (2, "reset"),
        "fault.cut?after_tokens=2&how=fin": (2, "fin"),
        "fault.truncate": (5, "fin"),
        "fault.huge?size_bytes=9000000": (5, "fin"),
    }
    seen = {}
    async with running("--port=0", "--tokens=5", "--first-token-ms=1") as process:
        port = await ready_port(process)
        for model in ends:
            got = await ask(port, chat(model=model, stream=True))
            seen[model] = (len(got.tokens) if got.raw else 0, got.end)

    assert seen == ends


async def test_its_event_loop_notices_a_client_that_goes() -> None:
    async with running("--port=0", "--tokens=5") as process:
        port = await ready_port(process)
        async with connected(port) as wire:
            await wire.send(request(chat(model="fault.stall", stream=True)))
            await wire.receive(least=b" alpha-2")
        outcomes: dict[str, int] = {}
        async with asyncio.timeout(LIMIT_S):
            while not outcomes:
                log = await ask(port, method="GET", path="/control/log")
                outcomes = log.json["outcomes"]

    assert outcomes == {"client_gone": 1}


def test_help_teaches_every_fault_and_its_parameters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    for row in KINDS.values():
        assert f"\n  {row.name}" in shown
        for param in row.params:
            assert param.describe() in shown


@pytest.mark.parametrize(
    "flags",
    [["--tokens=0"], ["--port=70000"], ["--first-token-ms=-1"], ["--tokens-per-s=nan"]],
)
def test_wrong_settings_are_refused(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(flags)

    assert ended.value.code == 2
    assert flags[0].partition("=")[0] in capsys.readouterr().err


async def test_a_port_that_is_taken_is_said_in_one_line(provider: StandIn) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, f"--port={provider.port}", stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        _, problem = await process.communicate()

    assert process.returncode == 1
    assert problem.startswith(b"cannot listen on")
    assert problem.count(b"\n") == 1
