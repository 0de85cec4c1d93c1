"""`make dev`: it answers, says how to ask, and leaves nothing behind."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest

from scripts.local import ROOT, is_free

# Starting three processes takes most of it on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

COMMAND = [sys.executable, "-m", "scripts.dev"]
# A real provider must not be asked by a test.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if "API_KEY" not in name
}


class Dev:
    """A running `make dev` on free ports, and what it has printed so far."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "--free-ports"],
            cwd=ROOT,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.printed = ""
        self._lines: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def until(self, words: str) -> None:
        """Read until `words` are printed."""
        while words not in self.printed:
            line = self._lines.get(timeout=100)
            assert line, f"it ended before it said {words!r}:\n{self.printed}"
            self.printed += line

    def ended(self) -> int:
        """Wait for its end; the exit code."""
        code = self.process.wait(60)
        self._reader.join()
        while line := self._lines.get():
            self.printed += line
        return code

    def ports(self) -> list[int]:
        return ports_in(self.printed)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def dev() -> Iterator[Dev]:
    started = Dev()
    try:
        yield started
    finally:
        started.close()


def ports_in(text: str) -> list[int]:
    return [
        int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+) +process", text)
    ]


def curl(line: str) -> str:
    """Paste a printed line into a shell."""
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout


def test_once_it_answers_plain_and_streamed_and_ends() -> None:
    done = subprocess.run(
        [*COMMAND, "--once", "--free-ports"],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "plain answer of alpha/stand-in: alpha-0 alpha-1 " in done.stdout
    assert "streamed answer of alpha/stand-in: alpha-0 alpha-1 " in done.stdout
    ports = ports_in(done.stdout)
    assert len(ports) == 3
    assert all(is_free(port) for port in ports), "something was left running"


def test_its_curl_lines_can_be_pasted_and_it_ends_all_that_it_started(
    dev: Dev,
) -> None:
    dev.until("Ctrl-C ends it all")
    plain, streamed = re.findall(
        r"^  (curl .*/chat/completions .*)$", dev.printed, re.M
    )
    answer = curl(plain)
    assert '"content":"alpha-0 alpha-1 ' in answer, answer + dev.printed
    assert curl(streamed).rstrip().endswith("data: [DONE]")

    broken, well = re.findall(r"^  (curl .*/control/fault.*)$", dev.printed, re.M)
    curl(broken)
    assert "beta-0" in curl(plain)
    curl(well)

    dev.until("fallback")  # its log is shown
    dev.process.send_signal(signal.SIGTERM)
    assert dev.ended() == 0, dev.printed
    assert all(is_free(port) for port in dev.ports()), "something was left running"


def test_a_process_that_dies_is_named_with_its_last_words(dev: Dev) -> None:
    dev.until("Ctrl-C ends it all")
    found = re.search(r"stand-in beta .*process (\d+)", dev.printed)
    assert found
    os.kill(int(found[1]), signal.SIGKILL)
    assert dev.ended() == 1
    assert "beta ended with exit code -9" in dev.printed
    assert "ready http://127.0.0.1:" in dev.printed
    kept = re.search(r"Logs are kept: (.+)", dev.printed)
    assert kept
    logs = Path(kept[1])
    assert {"alpha.log", "beta.log", "gateway.log"} <= {
        one.name for one in logs.iterdir()
    }
    shutil.rmtree(logs)
    assert all(is_free(port) for port in dev.ports()), "something was left running"


def test_a_taken_port_is_told_with_a_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "--free-ports", "--port", str(port)],
            cwd=ROOT,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert f"port {port} is taken" in done.stderr
    assert "PORT=8081 make dev" in done.stderr
