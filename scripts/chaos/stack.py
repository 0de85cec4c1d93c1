"""The system under experiment on one machine: stand-ins, Toxiproxy, a gateway.

    callers → gateway → Toxiproxy → stand-in alpha, stand-in beta

The rule it keeps: loopback only, and a port that is taken is replaced by a free one in
every file that names it, so that a run disturbs nobody. The fault is not its business.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import httpx

from scripts.local import DemoKey, free_ports, is_free, start_gateway, start_stand_in
from scripts.processes import Children, HarnessFailed, answers

from .experiments import ROOT, Experiment, Variant

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
            port = conventional
            while port in taken or not is_free(port):
                (port,) = free_ports(1)
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
        label = f"stand-in-{name}"
        start_stand_in(children, name, port, STAND_IN_PACE, label=label)
    for proxy in proxies.values():
        ports.of(_port_of(proxy["listen"]))
    toxiproxy = _start_toxiproxy(children, ports)
    key = DemoKey.new()
    port = ports.of(GATEWAY_PORT)
    config = workdir / "gateway.yaml"
    config.write_text(ports.rewrite(CONFIGS[variant].read_text()))
    gateway = start_gateway(children, config, port, key)
    return Stack(
        gateway=f"http://127.0.0.1:{port}",
        gateway_pid=gateway.process.pid,
        toxiproxy=toxiproxy,
        proxies={
            name: f"http://127.0.0.1:{ports.of(_port_of(proxies[name]['listen']))}"
            for name in experiment.providers
        },
        stand_ins=stand_ins,
        key=key.secret,
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
