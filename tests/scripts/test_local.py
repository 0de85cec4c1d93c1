"""Parts of a local run: ports that are looked at, keys that are not written."""

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from app.config import load
from scripts.demo.__main__ import CONFIG as DEMO_CONFIG
from scripts.dev import CONFIG as DEV_CONFIG
from scripts.local import (
    KEY_HASH_VARIABLE,
    DemoKey,
    PortTaken,
    free_ports,
    is_free,
    require_free,
    stand_in_ports,
    with_ports,
)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_taken_port_is_named_with_who_wants_it(taken_port: int) -> None:
    with pytest.raises(PortTaken, match=f"port {taken_port} is taken, and stand-in a"):
        require_free({"stand-in alpha": taken_port})


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert all(is_free(port) for port in ports)


def test_a_key_has_256_random_bits_and_the_hash_that_the_gateway_compares() -> None:
    key, other = DemoKey.new(), DemoKey.new()
    assert key.secret != other.secret
    assert len(bytes.fromhex(key.secret.removeprefix("bw-"))) == 32
    assert hashlib.sha256(key.secret.encode()).hexdigest() == key.sha256


@pytest.mark.parametrize(
    ("config", "stand_ins"),
    [(DEV_CONFIG, ["alpha", "beta"]), (DEMO_CONFIG, ["alpha", "beta", "gamma"])],
    ids=["dev", "demo"],
)
def test_a_configuration_is_the_same_with_other_ports(
    config: Path, stand_ins: list[str], tmp_path: Path
) -> None:
    environment = {KEY_HASH_VARIABLE: DemoKey.new().sha256}
    ports = {name: 20_000 + at for at, name in enumerate(stand_in_ports(config))}
    assert list(ports) == stand_ins
    moved = with_ports(config, ports, tmp_path)
    assert stand_in_ports(moved) == ports
    before, after = load(config, environment), load(moved, environment)
    assert after.routes == before.routes
    assert after.policies == before.policies
    assert [key.id for key in after.keys] == ["demo"]


def test_only_providers_on_this_machine_are_stood_in_for(tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    providers = {
        "alpha": {"dialect": "openai", "base_url": "https://alpha.example/v1"},
        "beta": {"dialect": "openai", "base_url": "http://localhost:9002/v1"},
        "vllm": {"dialect": "openai", "base_url": "http://127.0.0.1:8000/v1"},
    }
    config.write_text(yaml.safe_dump({"providers": providers}))
    assert stand_in_ports(config) == {"beta": 9002}
