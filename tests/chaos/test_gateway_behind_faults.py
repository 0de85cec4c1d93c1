"""The whole local stack, one call at a time: what the experiments do under load.

Fast enough for every run; k6 and the numbers are left to `make chaos`.
"""

from collections.abc import Iterator

import httpx
import pytest
from toxiproxy import Proxy, Toxiproxy
from toxiproxy.api import APIConsumer

from scripts.chaos.experiments import ROOT, Variant, all_experiments, load_toxics
from scripts.chaos.stack import Stack, start_stack
from scripts.processes import Children
from tests.chaos.conftest import find_tool

# Longer than the first-token limit of chaos/local/gateway.yaml and an answer.
PATIENCE_S = 10.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all tests here: starting it costs more than they do."""
    find_tool("toxiproxy-server")
    (experiment,) = (each for each in all_experiments() if each.number == 3)
    directory = tmp_path_factory.mktemp("stack")
    with Children(ROOT, directory) as children, pytest.MonkeyPatch.context() as patch:
        started = start_stack(children, experiment, Variant.PROTECTED, directory)
        # The client's address is a class attribute: put back at the end.
        patch.setattr(APIConsumer, "host", "127.0.0.1")
        patch.setattr(APIConsumer, "port", int(started.toxiproxy.rpartition(":")[2]))
        yield started


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    """The stack without a fault, before the test and after it."""
    Toxiproxy().reset()
    yield shared_stack
    Toxiproxy().reset()


@pytest.fixture
def alpha(stack: Stack) -> Proxy:
    return Toxiproxy().get_proxy("alpha")


def ask(stack: Stack, route: str, *, stream: bool = False) -> httpx.Response:
    return httpx.post(
        f"{stack.gateway}/v1/chat/completions",
        json={
            "model": route,
            "stream": stream,
            "messages": [{"role": "user", "content": "hello"}],
        },
        headers={"Authorization": f"Bearer {stack.key}"},
        timeout=PATIENCE_S,
        trust_env=False,
    )


def provider_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return response.headers["x-gateway-target"].partition("/")[0]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_call_gets_past_a_provider_that_is_silent(
    stack: Stack, alpha: Proxy, stream: bool
) -> None:
    assert provider_of(ask(stack, "chat", stream=stream)) == "alpha"
    (experiment,) = (each for each in all_experiments() if each.number == 3)
    for action in load_toxics(experiment).actions:
        assert action.toxic is not None
        alpha.add_toxic(**action.toxic.model_dump())

    answer = ask(stack, "chat", stream=stream)

    assert provider_of(answer) == "beta"
    assert answer.headers["x-gateway-fallback"] == "true"
    assert answer.text.rstrip().endswith("data: [DONE]") or not stream


def test_a_call_gets_past_a_provider_that_is_down(stack: Stack, alpha: Proxy) -> None:
    with alpha.down():
        assert provider_of(ask(stack, "chat")) == "beta"
        assert provider_of(ask(stack, "beta-only")) == "beta"
    assert provider_of(ask(stack, "chat")) == "alpha"


def test_a_route_fails_fast_when_its_only_provider_is_down(stack: Stack) -> None:
    with Toxiproxy().get_proxy("beta").down():
        answer = ask(stack, "beta-only")
        assert answer.status_code in (502, 503)
        assert answer.json()["error"]["requestId"]
    assert provider_of(ask(stack, "beta-only")) == "beta"
