"""docker-compose.yml, read as data: whole, hardened, on loopback, and without secrets.

No container engine runs here. What is tested is what can be known from the files: that
everything named exists, and that the pieces fit each other.
"""

import json
import re
from typing import Any, Final

import pytest
import yaml

from tests.manifests.schemas import REPOSITORY, Json

COMPOSE: Final[Json] = yaml.safe_load(
    (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
)
SERVICES: Final[dict[str, Json]] = COMPOSE["services"]
KEY_HASH: Final = "GATEWAY_DEMO_KEY_SHA256"
WRITABLE_ROOT: Final = {"vllm"}
"""It compiles kernels at start, into places that differ between its releases."""


@pytest.fixture(params=sorted(SERVICES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def service(name: str) -> Json:
    return SERVICES[name]


def config_text(name: str) -> str:
    return (REPOSITORY / COMPOSE["configs"][name]["file"]).read_text(encoding="utf-8")


def proxies() -> list[Json]:
    return list(json.loads(config_text("toxiproxy")))


def networks(name: str) -> set[str]:
    return set(SERVICES[name]["networks"])


def listening_port(name: str) -> int:
    """Where a service listens: told by its arguments, else by what it publishes."""
    command = SERVICES[name].get("command", [])
    if "--port" in command:
        return int(command[command.index("--port") + 1])
    return {"valkey": 6379, "vllm": 8000}[name]


def test_the_system_has_all_its_parts() -> None:
    parts = {"gateway", "valkey", "alpha", "beta", "toxiproxy", "prometheus", "grafana"}
    always = {name for name, made in SERVICES.items() if not made.get("profiles")}
    assert always == parts


def test_real_providers_wait_for_their_profile() -> None:
    profiles = {name: made.get("profiles") for name, made in SERVICES.items()}
    assert profiles["vllm"] == ["vllm"]
    assert profiles["gateway-openai"] == ["openai"]


def test_every_image_is_pinned_to_a_version(service: Json) -> None:
    repository, _, tag = service["image"].rpartition(":")
    assert repository
    assert re.search(r"\d+\.\d+", tag), service["image"]


def test_every_container_is_hardened(name: str, service: Json) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is (name not in WRITABLE_ROOT)
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc"} & service.keys()


def test_every_container_is_limited(service: Json) -> None:
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}


def test_every_container_tells_its_health(service: Json) -> None:
    """Its own check here, or the one of an image that this repository makes."""
    check = service.get("healthcheck")
    if check is None:
        dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
        stage = dockerfile.split(f" AS {service['build']['target']}\n")[1]
        assert "HEALTHCHECK" in stage.split("\nFROM ")[0]
    else:
        assert check["test"][0] == "CMD", "a shell is not in every image"


def test_everybody_waits_for_the_health_of_what_it_needs(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert needed in SERVICES
        assert not SERVICES[needed].get("profiles"), "it may not be up"


def test_nothing_is_published_beyond_this_machine(service: Json) -> None:
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:"), port


def test_no_two_containers_publish_the_same_port() -> None:
    published = [
        port.split(":")[1]
        for made in SERVICES.values()
        for port in made.get("ports", ())
    ]
    assert len(published) == len(set(published))


def test_every_file_that_is_mounted_exists(service: Json) -> None:
    for mounted in service.get("configs", ()):
        assert config_text(mounted["source"])
    for volume in service.get("volumes", ()):
        if isinstance(volume, dict):
            assert (REPOSITORY / volume["source"]).exists()
            assert volume["read_only"] is True
        else:
            assert volume.split(":")[0] in COMPOSE["volumes"]


def test_no_config_is_inline() -> None:
    """Compose refuses inline content for a service whose root is read-only."""
    for config in COMPOSE["configs"].values():
        assert config.keys() == {"file"}


def test_a_missing_client_key_is_an_error_that_says_what_to_run() -> None:
    for name in ("gateway", "gateway-openai"):
        told = SERVICES[name]["environment"][KEY_HASH]
        assert told.startswith(f"${{{KEY_HASH}:?")
        assert ". scripts/demo_key.sh" in told


def test_no_secret_is_written_down() -> None:
    for name, made in SERVICES.items():
        for variable, value in made.get("environment", {}).items():
            if re.search(r"KEY|TOKEN|SECRET|PASSWORD", variable):
                assert value is None or value.startswith("${"), (name, variable)
    for name in COMPOSE["configs"]:
        assert not re.search(r"\b(sk|bw)-\w{8,}|\b[0-9a-f]{64}\b", config_text(name))


def test_the_gateway_reaches_providers_and_store_through_toxiproxy_only() -> None:
    for hidden in ("alpha", "beta", "valkey"):
        assert not networks("gateway") & networks(hidden)
        assert networks("toxiproxy") & networks(hidden)
    assert networks("gateway") & networks("toxiproxy")


def test_every_proxy_leads_to_a_service_that_listens_there() -> None:
    assert {proxy["name"] for proxy in proxies()} == {"alpha", "beta", "store"}
    for proxy in proxies():
        host, port = proxy["upstream"].split(":")
        assert listening_port(host) == int(port)
        assert proxy["enabled"] is True


@pytest.mark.parametrize("config", ["gateway", "gateway-openai"])
def test_every_address_in_a_gateway_configuration_leads_somewhere(config: str) -> None:
    parsed: dict[str, Any] = yaml.safe_load(config_text(config))
    urls = [provider["base_url"] for provider in parsed["providers"].values()]
    known = {f"toxiproxy:{proxy['listen'].split(':')[1]}" for proxy in proxies()}
    known |= {f"vllm:{listening_port('vllm')}", "api.openai.com"}
    for url in [*urls, parsed["store"]["url"]]:
        assert url.split("//")[1].split("/")[0] in known, url


@pytest.mark.parametrize("config", ["gateway", "gateway-openai"])
def test_a_stopped_gateway_has_time_to_drain(config: str) -> None:
    parsed: dict[str, Any] = yaml.safe_load(config_text(config))
    drain_s = parsed["server"]["drain_timeout_s"]
    longest_s = max(policy["deadline_s"] for policy in parsed["policies"].values())
    grace_s = int(SERVICES[config]["stop_grace_period"].removesuffix("s"))
    assert longest_s <= drain_s < grace_s
