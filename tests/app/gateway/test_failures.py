"""Failures of targets: unseen before the first content, honest behind it."""

import asyncio
from typing import Any

import httpx
import pytest

from app.errors import (
    AllTargetsFailed,
    AllTargetsRefused,
    AllTargetsThrottled,
    AppError,
    ContextTooLong,
    DeadlineExceeded,
    InternalError,
    StreamBroken,
    UpstreamRefused,
)
from app.gateway.reply import DONE
from resilience.breaker import BreakerState
from tests.app.gateway.scene import (
    Scene,
    failing,
    read,
    streaming,
    whole,
)
from tests.app.gateway.streams import HEL, LO, ROLE, STOP, WHOLE, event

DOWN = failing(httpx.ConnectError, "connection refused")
ERROR_500 = whole({"error": {"message": "boom"}}, status=500)
THROTTLED = whole({"error": {}}, status=429, retry_after="30")
CUT = streaming(ROLE, HEL, httpx.ReadError("reset"))


# --- Failures before the commit point ----------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "sends"),
    [
        ([DOWN], 2),
        ([ERROR_500], 2),
        ([whole(status=503)], 1),
        ([THROTTLED], 1),
        ([whole(status=401)], 1),
        ([failing(httpx.PoolTimeout, "full")], 1),
        ([streaming(ROLE, DONE)], 2),
        ([streaming(ROLE)], 2),
        ([streaming(httpx.ReadError("reset"))], 2),
        ([streaming(event({"error": {"message": "boom"}}))], 2),
        ([streaming(60.0)], 1),
        ([whole()], 2),
        ([streaming(*WHOLE, content_type="text/plain")], 2),
    ],
)
async def test_a_failure_before_the_first_content_is_never_seen(
    alpha: list[Any], sends: int
) -> None:
    for stream in (True, False):
        scene = Scene(alpha=list(alpha))
        if stream:
            assert (await scene.stream())[-1] == DONE
        else:
            assert (await scene.complete())["choices"]
        assert scene.sends == {"alpha": sends, "beta": 1}
        scene.assert_at_rest()


async def test_a_media_type_may_be_written_in_any_case() -> None:
    scene = Scene(alpha=[streaming(*WHOLE, content_type="Text/Event-Stream;x=y")])
    await scene.stream()
    assert scene.sends == {"alpha": 1, "beta": 0}


async def test_an_unstreamed_answer_that_breaks_late_is_asked_for_again() -> None:
    scene = Scene(alpha=[CUT])
    answer = await scene.complete()
    assert answer["choices"][0]["message"]["content"] == "Hello"
    assert scene.sends == {"alpha": 2, "beta": 1}
    scene.assert_at_rest()


async def test_what_cannot_be_put_together_is_the_targets_failure() -> None:
    odd = event({"choices": [{"index": 0, "delta": {"tool_calls": ["x"]}}]})
    scene = Scene(alpha=[streaming(HEL, odd, STOP, DONE)])
    assert (await scene.complete())["choices"]
    assert scene.sends == {"alpha": 2, "beta": 1}


@pytest.mark.parametrize(
    "cut_short",
    [
        httpx.ReadError("reset"),
        3600.0,
        b"x" * 100_000,
    ],
    ids=["cut", "stalled", "endless"],
)
async def test_a_refusal_counts_by_its_status_whatever_becomes_of_its_body(
    cut_short: Any,
) -> None:
    refusal = streaming(b'{"error": {', cut_short, status=429)
    scene = Scene(alpha=[refusal])
    await scene.stream()
    totals = scene.gates["alpha/m"].breaker.totals
    assert totals.failed == 0
    assert scene.sends["alpha"] == 1
    scene.assert_at_rest()


async def test_the_callers_mistake_goes_back_to_the_caller_at_once() -> None:
    mistake = whole(
        {"error": {"code": "bad", "message": "no", "param": "top_p"}}, status=422
    )
    scene = Scene(alpha=[mistake])
    with pytest.raises(UpstreamRefused) as caught:
        await scene.open()
    assert caught.value.public_code == "bad"
    assert caught.value.param == "top_p"
    assert scene.sends == {"alpha": 1, "beta": 0}
    scene.assert_at_rest()


@pytest.mark.parametrize("beta_window", [None, 8000, 16000])
async def test_a_prompt_that_is_too_long_goes_only_to_a_larger_window(
    beta_window: int | None,
) -> None:
    too_long = whole({"error": {"code": "context_length_exceeded"}}, status=400)
    scene = Scene(alpha=[too_long], windows=(8000, beta_window))
    if beta_window == 16000:
        await scene.stream()
    else:
        with pytest.raises(ContextTooLong):
            await scene.open()
        assert scene.sends == {"alpha": 1, "beta": 0}
    scene.assert_at_rest()


@pytest.mark.parametrize(
    ("alpha", "beta", "kind"),
    [
        ([DOWN], [ERROR_500], AllTargetsFailed),
        ([THROTTLED], [THROTTLED], AllTargetsThrottled),
        ([failing(TypeError, "bug")], [failing(KeyError, "bug")], InternalError),
    ],
)
async def test_when_nobody_answers_the_client_is_told_why(
    alpha: list[Any], beta: list[Any], kind: type[AppError]
) -> None:
    scene = Scene(alpha, beta)
    with pytest.raises(kind) as caught:
        await scene.open()
    assert type(caught.value) is kind
    assert "bug" not in caught.value.public_message
    scene.assert_at_rest()


async def test_when_everybody_is_away_nobody_is_asked_any_more() -> None:
    scene = Scene([DOWN], [DOWN])
    for _ in range(4):
        with pytest.raises(AllTargetsFailed):
            await scene.open()
    asked = scene.sends
    assert scene.gates["alpha/m"].breaker.state is BreakerState.OPEN
    with pytest.raises(AllTargetsRefused) as caught:
        await scene.open()
    assert caught.value.retry_after_s is not None
    assert scene.sends == asked
    scene.assert_at_rest()


async def test_the_deadline_is_the_shorter_of_the_routes_and_the_clients() -> None:
    for deadline_s, timeout_s in ((60.0, 2.0), (2.0, None), (2.0, 60.0)):
        scene = Scene([streaming(9.0)], [streaming(9.0)], deadline_s=deadline_s)
        started_s = scene.clock.now()
        with pytest.raises(DeadlineExceeded):
            await scene.open(timeout_s=timeout_s)
        assert scene.clock.now() - started_s == pytest.approx(2.0, abs=0.01)
        assert scene.sends == {"alpha": 1, "beta": 0}
        scene.assert_at_rest()


async def test_attempts_are_bounded_over_all_targets() -> None:
    scene = Scene([DOWN], [DOWN], max_attempts=2)
    with pytest.raises(AllTargetsFailed):
        await scene.open()
    assert scene.sends == {"alpha": 2, "beta": 0}


# --- After the commit point --------------------------------------------------------


async def test_a_stream_that_breaks_ends_in_an_error_and_counts_as_a_failure() -> None:
    scene = Scene(alpha=[CUT])
    with pytest.raises(StreamBroken):
        await scene.stream()
    assert scene.gates["alpha/m"].breaker.totals.failed == 1
    assert scene.sends == {"alpha": 1, "beta": 0}
    scene.assert_at_rest()


async def test_the_route_says_whether_a_malformed_event_breaks_a_stream() -> None:
    steps = (HEL, b"data: {\n\n", LO, STOP, DONE)
    assert await Scene(alpha=[streaming(*steps)]).stream() == [HEL, LO, STOP, DONE]
    with pytest.raises(StreamBroken):
        await Scene(alpha=[streaming(*steps)], skip_malformed=False).stream()


async def test_a_slot_is_held_until_the_stream_is_closed() -> None:
    scene = Scene(alpha=[streaming(HEL, 5.0, STOP, DONE)])
    reply = await scene.open()
    assert scene.gates["alpha/m"].bulkhead.in_use == 1
    await read(reply)
    assert scene.gates["alpha/m"].bulkhead.in_use == 0


async def test_a_client_that_leaves_is_neutral_and_its_upstream_is_closed() -> None:
    scene = Scene(alpha=[streaming(HEL, 60.0)])
    task = asyncio.create_task(scene.stream())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    totals = scene.gates["alpha/m"].breaker.totals
    assert (totals.recorded, totals.failed) == (0, 0)
    assert scene.bodies[0].closed
    scene.assert_at_rest()


async def test_usage_is_passed_on_only_to_those_who_asked() -> None:
    scene = Scene()
    assert len(await scene.stream()) + 1 == len(await scene.stream(include_usage=True))
