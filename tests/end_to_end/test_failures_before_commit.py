"""A first target that fails before it has delivered anything costs the client nothing.

Each row is a route whose first target fails in one way and whose second is well; each
is asked for streamed and whole. What the stand-ins saw is the table "How an attempt
counts" of the design: who is asked again, and how often.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from loadtest.provider import StandIn
from tests.support.answers import Answer
from tests.support.configs import NO_BREAKER, gateway_yaml, target
from tests.support.gateway import RunningGateway
from tests.support.providers import refusing, sends_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_ONCE, ONCE_MORE = 1, 2


@dataclass(frozen=True)
class Row:
    """How the first target fails, and how often it is asked for that."""

    name: str
    fault: str
    sends: int
    only: str = ""
    """`plain` or `stream`, if the other form of answer is another matter."""
    route: Mapping[str, Any] = field(default_factory=dict)


ROWS = (
    # Transient: asked once more although another target is ready.
    Row("reset", "fault.reset", ONCE_MORE),
    Row("close", "fault.close", ONCE_MORE),
    Row("500", "fault.status?code=500", ONCE_MORE),
    Row("502", "fault.status?code=502", ONCE_MORE),
    Row("504", "fault.status?code=504", ONCE_MORE),
    Row("408", "fault.status?code=408", ONCE_MORE),
    Row("html", "fault.garbled", ONCE_MORE),
    Row("no-event-is-json", "fault.garbled?how=mislabelled", ONCE_MORE),
    Row("error-frame-first", "fault.error_frame?after_tokens=0", ONCE_MORE),
    Row("error-frame-and-done", "fault.error_frame?after_tokens=0&done=1", ONCE_MORE),
    Row("cut-before-content", "fault.cut?after_tokens=0", ONCE_MORE),
    Row("fin-before-content", "fault.cut?after_tokens=0&how=fin", ONCE_MORE),
    Row(
        "malformed-breaks",
        "fault.malformed?after_tokens=0",
        ONCE_MORE,
        route={"on_malformed_chunk": "break"},
    ),
    # Overloaded: not made worse while another target is ready.
    Row("503", "fault.status?code=503", AT_ONCE),
    Row("503-short", "fault.status?code=503&retry_after_s=0.02", AT_ONCE),
    Row("529", "fault.status?code=529", AT_ONCE),
    # Silent: a second try would only multiply the wait.
    Row("silence", "fault.silence", AT_ONCE),
    Row("slow-headers", "fault.slow_headers", AT_ONCE),
    Row("slow-first-token", "fault.slow_first_token", AT_ONCE),
    Row("role-only", "fault.role_only", AT_ONCE),
    Row("keepalives-only", "fault.keepalives?interval_s=0.05", AT_ONCE),
    # Throttled: a short named pause is sat out, any other leads elsewhere.
    Row("429-short", "fault.status?code=429&retry_after_s=0.02", ONCE_MORE),
    Row("429-long", "fault.status?code=429&retry_after_s=60", AT_ONCE),
    Row("429-unnamed", "fault.status?code=429", AT_ONCE),
    # Our credential's fault: another provider has another one.
    Row("401", "fault.status?code=401", AT_ONCE),
    Row("402", "fault.status?code=402", AT_ONCE),
    Row("403", "fault.status?code=403", AT_ONCE),
    Row("quota", "fault.status?code=429&error_code=insufficient_quota", AT_ONCE),
    # A plain client has got nothing until all is there: breaking late is early enough.
    Row("cut-late", "fault.cut?after_tokens=3", ONCE_MORE, only="plain"),
    Row("reset-late", "fault.reset_mid_body", ONCE_MORE, only="plain"),
    Row("error-late", "fault.error_frame?after_tokens=3", ONCE_MORE, only="plain"),
    Row("no-finish", "fault.no_finish", ONCE_MORE, only="plain"),
    Row("stall", "fault.stall", AT_ONCE, only="plain"),
    Row("dribble", "fault.dribble", AT_ONCE, only="plain"),
)
FORMS = ("stream", "plain")
CASES = [(row, form) for row in ROWS for form in FORMS if row.only in ("", form)]


@dataclass
class Scene:
    """The gateway, and the providers behind it."""

    gateway: RunningGateway
    first: StandIn
    second: StandIn

    def sends(self, answer: Answer) -> tuple[int, int]:
        """How often each provider was asked for `answer`."""
        found = [
            len(sends_of(answer.request_id, (provider,)))
            for provider in (self.first, self.second)
        ]
        return found[0], found[1]


def routes() -> dict[str, Any]:
    """One route for each case: state about a target must not pass between cases."""
    found: dict[str, Any] = {}
    for row, form in CASES:
        found[f"{row.name}-{form}"] = {
            "targets": [target(f"first-{form}/{row.fault}"), target("second/well")],
            **row.route,
        }
    for form in FORMS:
        found[f"refused-{form}"] = [f"down/{form}", "second/well"]
    long_pause = "fault.status?code=429&retry_after_s=50"
    found["throttled"] = [f"first-stream/{long_pause}", "second/well"]
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Scene]:
    async with (
        refusing() as down,
        StandIn("first") as first,
        StandIn("second") as second,
    ):
        providers = {
            "down": down.base_url,
            "first-stream": first.base_url,
            "first-plain": first.base_url,
            "second": second.base_url,
        }
        config = gateway_yaml(providers, routes(), policy=NO_BREAKER)
        async with RunningGateway(config) as gateway:
            yield Scene(gateway, first, second)


@pytest.mark.parametrize(
    ("row", "form"), CASES, ids=[f"{row.name}-{form}" for row, form in CASES]
)
async def test_the_second_target_answers_and_the_first_is_asked_as_often_as_it_helps(
    scene: Scene, row: Row, form: str
) -> None:
    answer = await scene.gateway.chat(f"{row.name}-{form}", stream=form == "stream")

    assert answer.status == 200
    assert answer.complete
    assert answer.text.startswith("second-0 second-1")
    assert scene.sends(answer) == (row.sends, 1)
    assert answer.headers["x-gateway-target"] == "second/well"
    assert answer.headers["x-gateway-fallback"] == "true"
    assert answer.attempts == row.sends + 1
    scene.gateway.assert_nothing_held()


@pytest.mark.parametrize("form", FORMS)
async def test_a_target_that_refuses_connections_is_tried_once_more(
    scene: Scene, form: str
) -> None:
    answer = await scene.gateway.chat(f"refused-{form}", stream=form == "stream")

    assert answer.complete
    assert scene.sends(answer) == (0, 1)
    assert answer.attempts == ONCE_MORE + 1


async def test_a_throttled_target_is_left_alone_until_its_pause_is_over(
    scene: Scene,
) -> None:
    await scene.gateway.chat("throttled", stream=True)

    again = await scene.gateway.chat("throttled", stream=True)

    assert again.complete
    assert scene.sends(again) == (0, 1)
    assert again.attempts == 1
    assert again.headers["x-gateway-fallback"] == "true"
