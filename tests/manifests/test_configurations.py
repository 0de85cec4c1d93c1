"""Every gateway.yaml deployed from here is one that the gateway accepts whole."""

import re
from pathlib import Path
from typing import Final

import pytest
import yaml

from app.config import ConfigError, load, parse
from tests.manifests.render import OVERLAYS, Cluster
from tests.manifests.schemas import REPOSITORY

FILES: Final = (
    "scripts/compose/gateway.yaml",
    "scripts/compose/gateway-openai.yaml",
    "k8s/base/gateway.yaml",
    "k8s/components/provider/gateway.yaml",
)
SUPPLIED: Final = {
    "GATEWAY_DEMO_KEY_SHA256": "a" * 64,
    "GATEWAY_CLIENT_KEY_SHA256": "b" * 64,
    "OPENAI_API_KEY": "k" * 8,
}


@pytest.fixture(params=FILES)
def path(request: pytest.FixtureRequest) -> Path:
    return REPOSITORY / request.param


def test_it_loads_and_nothing_is_left_out(path: Path) -> None:
    assert load(path, SUPPLIED).notes == ()


def test_it_does_not_start_without_a_client_key(path: Path) -> None:
    without = {name: given for name, given in SUPPLIED.items() if "SHA" not in name}
    with pytest.raises(ConfigError, match="_KEY_SHA256"):
        load(path, without)


def test_it_refers_to_nothing_that_is_not_supplied(path: Path) -> None:
    named = set(re.findall(r"env: *(\w+)", path.read_text(encoding="utf-8")))
    assert named <= SUPPLIED.keys()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_an_overlay_mounts_is_what_was_written(overlay: str) -> None:
    (text,) = (
        doc["data"]["gateway.yaml"] for doc in Cluster.of(overlay).kind("ConfigMap")
    )
    config = parse(text, SUPPLIED, file=REPOSITORY / "gateway.yaml")
    assert {"chat", "beta-only"} <= config.routes.keys()


@pytest.mark.parametrize("name", ["gateway", "gateway-openai"])
def test_compose_supplies_what_the_configuration_refers_to(name: str) -> None:
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text("utf-8"))
    text = (REPOSITORY / compose["configs"][name]["file"]).read_text("utf-8")
    named = set(re.findall(r"env: *(\w+)", text))
    assert named == compose["services"][name]["environment"].keys()


def test_openai_is_not_used_without_its_key() -> None:
    path = REPOSITORY / "scripts/compose/gateway-openai.yaml"
    without = {name: given for name, given in SUPPLIED.items() if "OPENAI" not in name}
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        load(path, without)
