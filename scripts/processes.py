"""Child processes of a run: started, awaited until ready, stopped by their own PID.

The rule it keeps: what was started is stopped, in reverse order, whatever happens; and
nothing else is. A child that dies is reported with the end of its log. Nothing here
knows what the children are.
"""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 10.0
_POLL_S = 0.1
_LOG_TAIL_LINES = 15


class HarnessFailed(Exception):
    """A part of the harness did not do its work; says nothing about the gateway."""


def quiet_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child: ours, with loopback never sent to a proxy."""
    environment = dict(os.environ)
    environment["NO_PROXY"] = environment["no_proxy"] = "127.0.0.1,localhost"
    environment["PYTHONUNBUFFERED"] = "1"
    environment.update(extra or {})
    return environment


def answers(url: str) -> bool:
    """True when a GET of `url` is answered by 200 within a second."""
    try:
        return httpx.get(url, timeout=1.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@dataclass(slots=True)
class Child:
    """A running process and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        """The last lines it wrote."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    def stop(self) -> None:
        """Ends it: asks first, and insists after `STOPPED_WITHIN_S`."""
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Children:
    """The processes of one run. A context manager: leaving it stops them all."""

    def __init__(self, cwd: Path, logs: Path) -> None:
        self._cwd = cwd
        self._logs = logs
        self._started: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._started:
            self._started.pop().stop()

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Starts a process that writes to `<name>.log`. Raises: HarnessFailed."""
        log = self._logs / f"{name}.log"
        with log.open("wb") as output:
            try:
                process = subprocess.Popen(  # our own commands only
                    list(command),
                    cwd=self._cwd,
                    env=quiet_environment(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            except OSError as error:
                raise HarnessFailed(f"{name} could not be started: {error}") from error
        child = Child(name, process, log)
        self._started.append(child)
        return child

    def start_ready(
        self,
        name: str,
        command: Sequence[str],
        is_ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Starts a process and waits until it is ready. Raises: HarnessFailed."""
        child = self.start(name, command, environment)
        give_up_at = time.monotonic() + READY_WITHIN_S
        while not is_ready():
            self.check(child)
            if time.monotonic() > give_up_at:
                raise HarnessFailed(
                    f"{name} was not ready within {READY_WITHIN_S:.0f} s.\n"
                    f"{child.tail()}"
                )
            time.sleep(_POLL_S)
        # Something else on the same port may have answered in its place.
        self.check(child)
        return child

    def check(self, child: Child) -> None:
        """Raises HarnessFailed when a child is no longer running."""
        if (code := child.process.poll()) is not None:
            raise HarnessFailed(
                f"{child.name} ended with exit code {code}.\n{child.tail()}"
            )

    def running(self) -> tuple[Child, ...]:
        """Everything started so far, in order."""
        return tuple(self._started)
