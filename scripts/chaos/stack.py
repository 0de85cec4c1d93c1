"""The system under experiment on one machine: stand-ins, Toxiproxy, a gateway.

    callers → gateway → Toxiproxy → stand-in alpha, stand-in beta

The rule it keeps: loopback only, and a port that is taken is replaced by a free one in
every file that names it, so that a run disturbs nobody. The fault is not its business.
"""

import hashlib
import json
import secrets
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from .experiments import ROOT, Experiment, Variant
from .processes import Children, HarnessFailed, answers

PROXIES_FILE = ROOT / "chaos" / "toxiproxy" / "proxies.json"
CONFIGS = {
    Variant.PROTECTED: ROOT / "chaos" / "local" / "gateway.yaml",
    Variant.UNPROTECTED: ROOT / "chaos" / "local" / "gateway.unprotected.yaml",
}
TOOLS = ROOT / "scripts" / "tools.sh"
GATEWAY_PORT = 8080
TOXIPROXY_PORT = 8474
# A short answer of a fast model: the first token after 50 ms, the last 100 ms later.
STAND_IN_PACE = ("--first-token-ms", "50", "--tokens-per-s", "100", "--tokens", "10")


def find_tool(name: str) -> str:
    """The path of a tool, built first when it must be. Raises: HarnessFailed."""
    found = subprocess.run(  # our own script
        [str(TOOLS), name], stdout=subprocess.PIPE, text=True, check=False
    )
    if found.returncode != 0:
        raise HarnessFailed(f"{name} is needed and was neither found nor built.")
    return found.stdout.strip()


class Ports:
    """Which port stands in for a conventional one: itself when it is free.

    A port is held by nobody between the look and the use, as everywhere; a child that
    then cannot bind ends the run with its own message.
    """

    def __init__(self) -> None:
        self._chosen: dict[int, int] = {}

    def of(self, conventional: int) -> int:
        """The port to use where files say `conventional`."""
        if conventional not in self._chosen:
            taken = set(self._chosen.values())
            port = conventional if _is_free(conventional) else free_port()
            while port in taken:
                port = free_port()
            self._chosen[conventional] = port
        return self._chosen[conventional]

    def rewrite(self, text: str) -> str:
        """`text` with every chosen port in the place of its conventional one."""
        marked = text
        for conventional in self._chosen:
            marked = marked.replace(f"127.0.0.1:{conventional}", f"@{conventional}@")
        for conventional, port in self._chosen.items():
            marked = marked.replace(f"@{conventional}@", f"127.0.0.1:{port}")
        return marked


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A loopback port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


@dataclass(frozen=True, slots=True)
class Stack:
    """Where the running parts are, as base URLs, and the key callers use."""

    gateway: str
    toxiproxy: str
    proxies: dict[str, str]
    stand_ins: dict[str, str]
    key: str
    gateway_pid: int = 0

    def endpoints(self) -> dict[str, object]:
        """The addresses for the judge; never the key."""
        return {
            "gateway": self.gateway,
            "toxiproxy": self.toxiproxy,
            "proxies": self.proxies,
            "stand_ins": self.stand_ins,
        }


def start_stack(
    children: Children, experiment: Experiment, variant: Variant, workdir: Path
) -> Stack:
    """Starts everything an experiment needs and waits until it answers.

    Ownership: `children` stops what is started here. Raises: HarnessFailed.
    """
    proxies = {each["name"]: each for each in json.loads(PROXIES_FILE.read_text())}
    ports = Ports()
    stand_ins: dict[str, str] = {}
    for name in experiment.providers:
        port = ports.of(_port_of(proxies[name]["upstream"]))
        stand_ins[name] = f"http://127.0.0.1:{port}"
        _start_stand_in(children, name, port)
    for proxy in proxies.values():
        ports.of(_port_of(proxy["listen"]))
    toxiproxy = _start_toxiproxy(children, ports)
    key = f"bw-{secrets.token_urlsafe(24)}"
    gateway, gateway_pid = _start_gateway(children, ports, variant, key, workdir)
    return Stack(
        gateway=gateway,
        gateway_pid=gateway_pid,
        toxiproxy=toxiproxy,
        proxies={
            name: f"http://127.0.0.1:{ports.of(_port_of(proxies[name]['listen']))}"
            for name in experiment.providers
        },
        stand_ins=stand_ins,
        key=key,
    )


def _start_stand_in(children: Children, name: str, port: int) -> None:
    children.start_ready(
        f"stand-in-{name}",
        [
            *(sys.executable, "-m", "loadtest.provider"),
            *("--host", "127.0.0.1", "--port", str(port), "--name", name),
            *STAND_IN_PACE,
        ],
        lambda: answers(f"http://127.0.0.1:{port}/control/log"),
    )


def _start_toxiproxy(children: Children, ports: Ports) -> str:
    port = ports.of(TOXIPROXY_PORT)
    url = f"http://127.0.0.1:{port}"
    children.start_ready(
        "toxiproxy",
        [find_tool("toxiproxy-server"), "-host", "127.0.0.1", "-port", str(port)],
        lambda: answers(f"{url}/version"),
    )
    # Upstreams that do not run (the store, for now) are harmless: nothing dials them.
    proxies = json.loads(ports.rewrite(PROXIES_FILE.read_text()))
    made = httpx.post(f"{url}/populate", json=proxies, timeout=5.0, trust_env=False)
    if made.status_code != httpx.codes.CREATED:
        raise HarnessFailed(f"Toxiproxy refused the proxies: {made.text.strip()}")
    return url


def _start_gateway(
    children: Children, ports: Ports, variant: Variant, key: str, workdir: Path
) -> tuple[str, int]:
    port = ports.of(GATEWAY_PORT)
    config = workdir / "gateway.yaml"
    config.write_text(ports.rewrite(CONFIGS[variant].read_text()))
    url = f"http://127.0.0.1:{port}"
    child = children.start_ready(
        "gateway",
        [
            *(_gateway_command(), "serve", "--config", str(config)),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        lambda: answers(f"{url}/readyz"),
        {"GATEWAY_DEMO_KEY_SHA256": hashlib.sha256(key.encode()).hexdigest()},
    )
    return url, child.process.pid


def _gateway_command() -> str:
    beside_python = Path(sys.executable).with_name("gateway")
    found = shutil.which("gateway") or str(beside_python)
    if not Path(found).exists():
        raise HarnessFailed(
            "there is no `gateway` command here; run this by `make chaos`, or by "
            "`uv run python -m scripts.chaos`."
        )
    return found
