"""The local faults do what their names say: a real Toxiproxy, a real stand-in.

An experiment is worth as much as its fault, so the faults are tested by themselves.
"""

import json
import sys

import httpx
import pytest
from toxiproxy import Proxy

from scripts.chaos.experiments import all_experiments, load_toxics
from scripts.chaos.stack import PROXIES_FILE, Ports
from scripts.local import free_ports
from scripts.processes import Children, answers
from tests.chaos.conftest import Injector

PATIENCE_S = 1.0
CALL = {"model": "stand-in", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def stand_in(children: Children) -> int:
    """The port of a stand-in provider that answers at once."""
    port = free_ports(1)[0]
    children.start_ready(
        "stand-in",
        [
            *(sys.executable, "-m", "loadtest.provider", "--name", "alpha"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--first-token-ms", "1", "--tokens-per-s", "1000", "--tokens", "5"),
        ],
        lambda: answers(f"http://127.0.0.1:{port}/control/log"),
    )
    return port


@pytest.fixture
def proxied(injector: Injector, stand_in: int) -> tuple[Proxy, str]:
    return injector.proxy_to(stand_in)


def ask(url: str) -> httpx.Response:
    return httpx.post(
        f"{url}/v1/chat/completions", json=CALL, timeout=PATIENCE_S, trust_env=False
    )


def calls_heard(port: int) -> int:
    log = httpx.get(f"http://127.0.0.1:{port}/control/log", trust_env=False)
    count: int = log.json()["count"]
    return count


def black_hole(proxy: Proxy) -> list[str]:
    """Puts the toxics of experiment 03 into a proxy; returns their names."""
    (experiment,) = (each for each in all_experiments() if each.number == 3)
    names = []
    for action in load_toxics(experiment).actions:
        assert action.toxic is not None
        proxy.add_toxic(**action.toxic.model_dump())
        names.append(action.toxic.name)
    return names


def test_a_black_hole_swallows_the_call_without_refusing_it(
    proxied: tuple[Proxy, str], stand_in: int
) -> None:
    proxy, url = proxied
    assert ask(url).status_code == 200
    heard_before = calls_heard(stand_in)

    black_hole(proxy)

    with pytest.raises(httpx.ReadTimeout):
        ask(url)
    assert calls_heard(stand_in) == heard_before


def test_a_black_hole_also_takes_connections_that_were_open_before(
    proxied: tuple[Proxy, str],
) -> None:
    proxy, url = proxied
    with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as pooled:
        assert pooled.post("/v1/chat/completions", json=CALL).status_code == 200
        black_hole(proxy)
        with pytest.raises(httpx.ReadTimeout):
            pooled.post("/v1/chat/completions", json=CALL)


def test_without_the_toxics_the_provider_answers_again(
    proxied: tuple[Proxy, str],
) -> None:
    proxy, url = proxied
    for name in black_hole(proxy):
        proxy.destroy_toxic(name)
    assert proxy.toxics() == {}
    assert ask(url).status_code == 200


def test_a_disabled_proxy_refuses_connections(proxied: tuple[Proxy, str]) -> None:
    proxy, url = proxied
    with proxy.down(), pytest.raises(httpx.ConnectError):
        ask(url)
    assert ask(url).status_code == 200


def test_the_shipped_proxies_are_what_toxiproxy_takes(injector: Injector) -> None:
    shipped = json.loads(PROXIES_FILE.read_text())
    ports = Ports()
    for proxy in shipped:
        ports.of(int(proxy["listen"].rpartition(":")[2]))
    moved = json.loads(ports.rewrite(json.dumps(shipped)))
    for proxy in moved:
        injector.client.create(**proxy)
    assert set(injector.client.proxies()) == {"alpha", "beta", "store"}
