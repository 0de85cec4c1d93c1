"""Once content has reached the client, a stream ends complete or says that it broke.

Never a clean end that only looks like success. The same faults cost a client that does
not stream nothing: it has received nothing yet, so another target answers.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from loadtest.provider import StandIn
from tests.support.configs import QUICK, gateway_yaml, target
from tests.support.gateway import RunningGateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKENS = 6
TEXT = " ".join(f"first-{index}" for index in range(TOKENS))


@dataclass(frozen=True)
class Row:
    """A fault in the middle of a stream, and how many tokens are delivered first."""

    fault: str
    delivered: int


BREAKS = {
    "reset": Row("fault.cut?after_tokens=3", 3),
    "fin": Row("fault.cut?after_tokens=3&how=fin", 3),
    "reset-in-an-event": Row("fault.reset_mid_body", 3),
    "stall": Row("fault.stall?after_tokens=2", 2),
    "dribble": Row("fault.dribble?interval_s=2", 1),
    "error-frame": Row("fault.error_frame?after_tokens=4", 4),
    "error-frame-and-done": Row("fault.error_frame?after_tokens=4&done=true", 4),
    "no-finish-reason": Row("fault.no_finish", TOKENS),
    "too-large-an-event": Row("fault.huge?size_bytes=2000000", 1),
    "malformed": Row("fault.malformed?after_tokens=3", 3),
}
HARMLESS = {
    "malformed-skipped": "fault.malformed?after_tokens=3",
    "no-done": "fault.no_done",
    "cut-after-finish": "fault.truncate",
    "large-event": "fault.huge?size_bytes=500000",
    "slow-but-alive": "fault.dribble?interval_s=0.05",
}


def routes() -> dict[str, Any]:
    second = target("second/well")
    found: dict[str, Any] = {}
    for name, row in BREAKS.items():
        found[name] = {
            "targets": [target(f"first/{row.fault}"), second],
            "on_malformed_chunk": "break",
        }
    for name, fault in HARMLESS.items():
        found[f"harmless-{name}"] = {"targets": [target(f"other/{fault}"), second]}
    for name in ("cut", "truncate", "malformed", "error_frame", "stall", "keepalives"):
        found[f"unstreamed-{name}"] = {
            "targets": [target(f"whole/fault.{name}"), second],
            "upstream_stream": "never",
            "policy": "impatient",
        }
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[RunningGateway]:
    async with (
        StandIn("first", tokens=TOKENS) as first,
        StandIn("second", tokens=TOKENS) as second,
    ):
        providers = dict.fromkeys(("first", "other", "whole"), first.base_url)
        config = gateway_yaml(
            {**providers, "second": second.base_url},
            routes(),
            policies={
                "impatient": {
                    **QUICK,
                    "timeouts": {
                        "connect_s": 0.5,
                        "first_token_s": 0.5,
                        "idle_s": 0.5,
                        "total_s": 0.5,
                    },
                }
            },
        )
        async with RunningGateway(config) as running:
            yield running


@pytest.mark.parametrize("name", BREAKS)
async def test_a_stream_that_breaks_ends_with_a_typed_error_and_without_the_sentinel(
    gateway: RunningGateway, name: str
) -> None:
    answer = await gateway.chat(name, stream=True)

    assert answer.status == 200
    assert answer.headers["x-gateway-target"] == f"first/{BREAKS[name].fault}"
    delivered = BREAKS[name].delivered
    assert answer.text == " ".join(f"first-{at}" for at in range(delivered))
    assert "[DONE]" not in answer.events
    assert not answer.complete
    broken = answer.broken
    assert broken is not None
    assert broken["code"] == "stream_broken"
    assert broken["type"] == "upstream_error"
    assert broken["retryable"] is True
    assert broken["requestId"] == answer.request_id
    assert broken["usage"]["completion_tokens"] == delivered
    assert broken["message"]
    gateway.assert_nothing_held()


@pytest.mark.parametrize("name", BREAKS)
async def test_a_client_that_does_not_stream_gets_the_second_targets_answer_instead(
    gateway: RunningGateway, name: str
) -> None:
    answer = await gateway.chat(name)

    assert answer.complete
    assert answer.text.startswith("second-0")
    assert answer.headers["x-gateway-fallback"] == "true"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("name", HARMLESS)
async def test_what_does_no_harm_to_the_content_ends_complete(
    gateway: RunningGateway, name: str, stream: bool
) -> None:
    answer = await gateway.chat(f"harmless-{name}", stream=stream)

    assert answer.complete
    assert answer.headers["x-gateway-fallback"] == "false"
    assert answer.text.replace("x" * 500_000, "") == TEXT
    if stream:
        assert answer.events.count("[DONE]") == 1


@pytest.mark.parametrize(
    "name", ["cut", "truncate", "malformed", "error_frame", "stall", "keepalives"]
)
async def test_an_unstreamed_answer_that_breaks_is_never_passed_on(
    gateway: RunningGateway, name: str
) -> None:
    answer = await gateway.chat(f"unstreamed-{name}")

    assert answer.complete
    assert answer.text.startswith("second-0")


async def test_the_deadline_ends_a_stream_honestly(gateway: RunningGateway) -> None:
    answer = await gateway.chat(
        "harmless-slow-but-alive",
        stream=True,
        headers={"x-gateway-timeout-ms": "150"},
    )

    assert answer.broken is not None
    assert "deadline" in answer.broken["message"]
    assert 1 <= len(answer.tokens) < TOKENS


async def test_every_event_is_forwarded_byte_for_byte(gateway: RunningGateway) -> None:
    async with StandIn("first", tokens=TOKENS) as provider:
        config = gateway_yaml({"alpha": provider.base_url}, {"chat": ["alpha/m"]})
        async with RunningGateway(config) as own:
            options = {"include_usage": True}
            through = await own.chat("chat", stream=True, stream_options=options)
            direct = await own.http.post(
                f"{provider.base_url}/chat/completions", json=provider.log[0].body
            )

    assert _anonymous(through.body.data) == _anonymous(direct.content)


def _anonymous(stream: bytes) -> bytes:
    """Without what differs from one answer to the next."""
    return re.sub(rb'"id":"[^"]*"|"created":[0-9]+', b"", stream)
