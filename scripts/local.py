"""A gateway and its stand-in providers on this machine, for `dev` and `demo`.

The rule it keeps: loopback only; a port is looked at before a process is told to use
it, so that a taken one is named together with who wanted it. What is started belongs
to the given `Children`. What the processes are for must not live here.
"""

import hashlib
import random
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import yaml

from scripts.processes import Child, Children, HarnessFailed, answers

ROOT = Path(__file__).resolve().parents[1]
LOOPBACK = "127.0.0.1"
STAND_INS = ("alpha", "beta", "gamma")
KEY_HASH_VARIABLE = "GATEWAY_DEMO_KEY_SHA256"
# Below the ports that systems give to outgoing connections (Linux from 32768, others
# from 49152): nothing takes the port of a stand-in while it is down.
_QUIET_PORTS = range(20_000, 30_000)


@dataclass(frozen=True, slots=True)
class DemoKey:
    """A client key of one run. `secret` is for callers, `sha256` for the gateway."""

    secret: str
    sha256: str

    @classmethod
    def new(cls) -> "DemoKey":
        """Return a key of 256 random bits."""
        secret = f"bw-{secrets.token_hex(32)}"
        return cls(secret, hashlib.sha256(secret.encode()).hexdigest())


class PortTaken(Exception):
    """Something else listens where a process of ours has to."""

    def __init__(self, port: int, wanted_by: str) -> None:
        super().__init__(f"port {port} is taken, and {wanted_by} has to listen on it")
        self.port = port
        self.wanted_by = wanted_by


def is_free(port: int) -> bool:
    """Say whether `port` can be listened on, on the loopback address, right now."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections still linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Return `count` ports that nobody listens on. Raises: HarnessFailed."""
    # Not a secret: chance only keeps runs at the same time apart.
    tried = random.sample(_QUIET_PORTS, 200)
    free = [port for port in tried if is_free(port)][:count]
    if len(free) < count:
        raise HarnessFailed("no free port was found on this machine")
    return free


def require_free(ports: Mapping[str, int]) -> None:
    """Raise PortTaken unless every port is free; keys say who wants it."""
    for wanted_by, port in ports.items():
        if not is_free(port):
            raise PortTaken(port, wanted_by)


def stand_in_ports(config: Path) -> dict[str, int]:
    """Return where `config` expects stand-ins: its loopback providers named so."""
    providers = _read(config)["providers"]
    ports = {}
    for name in STAND_INS:
        url = urlsplit(providers.get(name, {}).get("base_url", ""))
        if url.hostname in (LOOPBACK, "localhost") and url.port:
            ports[name] = url.port
    return ports


def with_ports(config: Path, ports: Mapping[str, int], into: Path) -> Path:
    """Write a copy of `config` whose stand-ins are at `ports`, and return its path."""
    settings = _read(config)
    for name, port in ports.items():
        settings["providers"][name]["base_url"] = f"http://{LOOPBACK}:{port}/v1"
    copy = into / "gateway.yaml"
    copy.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return copy


def _read(config: Path) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load(config.read_text(encoding="utf-8"))
    return settings


def start_stand_in(
    children: Children,
    name: str,
    port: int,
    pace: Sequence[str] = (),
    *,
    label: str | None = None,
) -> Child:
    """Start stand-in `name` and wait until it answers. Raises: HarnessFailed.

    `pace` are options of its own; `label` names its log file, if `name` was used.
    """
    return children.start_ready(
        label or name,
        [
            *(sys.executable, "-m", "loadtest.provider"),
            *("--host", LOOPBACK, "--port", str(port), "--name", name),
            *pace,
        ],
        lambda: answers(f"http://{LOOPBACK}:{port}/livez"),
    )


def start_gateway(children: Children, config: Path, port: int, key: DemoKey) -> Child:
    """Start `gateway serve` and wait until it is ready. Raises: HarnessFailed."""
    return children.start_ready(
        "gateway",
        [
            *(_gateway_command(), "serve", "--config", str(config)),
            *("--host", LOOPBACK, "--port", str(port)),
        ],
        lambda: answers(f"http://{LOOPBACK}:{port}/readyz"),
        {KEY_HASH_VARIABLE: key.sha256},
    )


def _gateway_command() -> str:
    beside_python = Path(sys.executable).with_name("gateway")
    if beside_python.exists():
        return str(beside_python)
    found = shutil.which("gateway")
    if found is None:
        raise HarnessFailed(
            "there is no `gateway` command in this environment; run this by `make`, "
            "or by `uv run`."
        )
    return found


def end_cleanly_when_told() -> None:
    """Make SIGTERM and SIGHUP unwind the stack, so that children are ended too."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
