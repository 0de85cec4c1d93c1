"""Real parts for the chaos tests: k6, Toxiproxy, a stand-in provider.

toxiproxy-python keeps its address in a class, sets no timeouts and populates step by
step; everything it may do is behind `Injector`, one server per test.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from toxiproxy import Proxy, Toxiproxy
from toxiproxy.api import APIConsumer

from scripts.chaos.experiments import ROOT
from scripts.local import free_ports
from scripts.processes import Children, answers


def find_tool(name: str) -> str:
    """The path of a tool that is already here; building one takes minutes."""
    found = subprocess.run(  # our own script
        [str(ROOT / "scripts" / "tools.sh"), "--find", name],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode == 0:
        return found.stdout.strip()
    message = f"{name} is not built; run: scripts/tools.sh {name}"
    if os.environ.get("CI"):
        pytest.fail(message)
    # On a developer's machine without Go the rest of the suite is still worth running.
    pytest.skip(message)


@pytest.fixture(scope="session")
def k6() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a k6 command to its end; loopback only, nothing reported anywhere."""
    path = find_tool("k6")

    def run(
        *arguments: str, settings: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "K6_NO_USAGE_REPORT": "true"}
        if settings is not None:
            environment["CHAOS_SETTINGS"] = str(settings)
        return subprocess.run(  # a pinned tool, our own scripts
            [path, *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    return run


@dataclass(frozen=True, slots=True)
class Injector:
    """A Toxiproxy of one test: proxies on free ports, faults through its API."""

    client: Toxiproxy

    def proxy_to(self, port: int) -> tuple[Proxy, str]:
        """A new proxy in front of a local port, and the base URL of the proxy."""
        listen = free_ports(1)[0]
        proxy = self.client.create(
            name=f"to-{port}",
            upstream=f"127.0.0.1:{port}",
            listen=f"127.0.0.1:{listen}",
            enabled=True,
        )
        return proxy, f"http://127.0.0.1:{listen}"


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    with Children(ROOT, tmp_path) as started:
        yield started


@pytest.fixture
def injector(children: Children, monkeypatch: pytest.MonkeyPatch) -> Injector:
    port = free_ports(1)[0]
    children.start_ready(
        "toxiproxy",
        [find_tool("toxiproxy-server"), "-host", "127.0.0.1", "-port", str(port)],
        lambda: answers(f"http://127.0.0.1:{port}/version"),
    )
    # The client's address is a class attribute: put back after the test.
    monkeypatch.setattr(APIConsumer, "host", "127.0.0.1")
    monkeypatch.setattr(APIConsumer, "port", port)
    return Injector(Toxiproxy())
