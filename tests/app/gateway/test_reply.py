"""An opened reply is delivered, and closed exactly once, however it ends."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from app.domain import Usage
from app.errors import ContentFiltered, StreamBroken, UpstreamError, UpstreamGarbled
from app.gateway.reading import ChunkReader
from app.gateway.reply import DONE, Opened, Reply
from app.providers.openai import OpenAIProvider
from resilience.call import Call
from resilience.deadline import Deadline
from resilience.errors import DeadlineExceeded, IdleTimeout, TooSlow
from resilience.testing import LoopClock
from resilience.timeout import GuardedStream, Limits
from tests.app.gateway.streams import BILL, HEL, LO, ROLE, STOP, Scripted, event


class Delivery:
    """A reply whose provider's stream follows a script from its second chunk on."""

    def __init__(
        self, *steps: Any, pass_usage: bool = False, deadline_s: float = 60.0
    ) -> None:
        self.closed: list[BaseException | None] = []
        self.call = Call(Deadline.after(LoopClock(), deadline_s))
        self.call.target = "alpha/m"
        self.call.begin_attempt()
        self.reader = ChunkReader(
            Scripted(ROLE + HEL, *steps), OpenAIProvider(), skip_malformed=False
        )
        self.pass_usage = pass_usage

    async def opened(self) -> Reply:
        limits = Limits(idle_s=5, progress_window_s=10)
        chunks = GuardedStream(self.reader, self.call, limits, lambda c: c.tokens)
        held = [await anext(chunks), await anext(chunks)]
        self.call.mark_first_token()
        return Reply(
            Opened("alpha/m", held=held, chunks=chunks, reader=self.reader),
            self.call,
            fallback=False,
            pass_usage=self.pass_usage,
            close=self._close,
        )

    async def _close(self, reply: Reply, ended_by: BaseException | None) -> None:
        await asyncio.sleep(0)
        self.closed.append(ended_by)
        await self.call.close(ended_by)

    async def read(self) -> list[bytes]:
        reply = await self.opened()
        async with aclosing(reply.events()) as events:
            return [piece async for piece in events]

    async def broken(self) -> StreamBroken:
        with pytest.raises(StreamBroken) as caught:
            await self.read()
        return caught.value


async def test_what_was_held_back_comes_first_in_one_piece_and_the_sentinel_last() -> (
    None
):
    delivery = Delivery(LO, STOP)
    assert await delivery.read() == [ROLE + HEL, LO, STOP, DONE]
    assert delivery.closed == [None]


async def test_the_usage_event_is_for_those_who_asked() -> None:
    assert await Delivery(LO, STOP, BILL).read() == [ROLE + HEL, LO, STOP, DONE]
    asked = Delivery(LO, STOP, BILL, pass_usage=True)
    assert await asked.read() == [ROLE + HEL, LO, STOP, BILL, DONE]


async def test_a_reply_tells_what_is_known_so_far() -> None:
    delivery = Delivery(LO, STOP, BILL)
    reply = await delivery.opened()
    assert (reply.target, reply.fallback, reply.attempts) == ("alpha/m", False, 1)
    assert reply.body is None
    assert reply.usage is None
    assert reply.finish_reason is None
    assert 59 < reply.remaining_s <= 60
    async for _ in reply.events():
        pass
    assert reply.usage == Usage(7, 2)
    assert reply.finish_reason == "stop"


async def test_a_whole_answer_is_there_at_once() -> None:
    delivery = Delivery()
    reply = Reply(
        Opened("a/m", body={"id": "c"}, usage=Usage(1, 2), finish_reason="stop"),
        delivery.call,
        fallback=True,
        pass_usage=False,
        close=delivery._close,
    )
    assert reply.body == {"id": "c"}
    assert reply.usage == Usage(1, 2)
    assert reply.finish_reason == "stop"
    assert [piece async for piece in reply.events()] == [b"", DONE]


async def test_time_that_is_over_is_not_negative() -> None:
    reply = await Delivery(deadline_s=1.0).opened()
    await asyncio.sleep(2)
    assert reply.remaining_s == 0
    await reply.close()


# --- Failures after the commit point ------------------------------------------------

LOST = StreamBroken(target="alpha/m", detail="reset by peer")


@pytest.mark.parametrize(
    ("steps", "cause", "message"),
    [
        ((LO,), StreamBroken, "broke off"),
        ((LO, LOST), StreamBroken, "broke off"),
        ((event({"error": {"message": "gpu-7 died"}}),), StreamBroken, "broke off"),
        ((b"data: {\n\n",), UpstreamGarbled, "broke off"),
        ((event({"error": {"code": "content_filter"}}),), ContentFiltered, "broke off"),
        ((6.0, LO), IdleTimeout, "silent or too slow"),
        (tuple([4.0, b": hi\n\n"] * 9), TooSlow, "silent or too slow"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_failure_is_a_broken_stream_and_never_a_clean_end(
    steps: Any, cause: type[Exception], message: str
) -> None:
    delivery = Delivery(*steps)
    broken = await delivery.broken()
    assert message in broken.public_message
    assert "gpu-7" not in broken.public_message
    (ended_by,) = delivery.closed
    assert type(ended_by) is cause


async def test_the_deadline_is_told_as_such() -> None:
    delivery = Delivery(*[1.0, LO] * 20, deadline_s=10.0)
    broken = await delivery.broken()
    assert "deadline" in broken.public_message
    assert type(delivery.closed[0]) is DeadlineExceeded


async def test_a_translated_failure_keeps_its_cause_and_its_detail() -> None:
    broken = await Delivery(b"data: {\n\n").broken()
    assert isinstance(broken.__cause__, UpstreamError)
    assert broken.detail == broken.__cause__.detail


async def test_a_failure_that_is_told_as_it_is_does_not_cause_itself() -> None:
    broken = await Delivery(LO, LOST).broken()
    assert broken is LOST
    assert broken.__cause__ is None


async def test_usage_so_far_is_counted_by_us_until_the_provider_has_counted() -> None:
    broken = await Delivery(LO, LO).broken()
    assert broken.usage == {
        "prompt_tokens": None,
        "completion_tokens": 3,
        "estimated": True,
    }
    counted = event(
        {
            "choices": [{"index": 0, "delta": {"content": "x"}}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 40},
        }
    )
    broken = await Delivery(counted).broken()
    assert broken.usage == {
        "prompt_tokens": 7,
        "completion_tokens": 40,
        "estimated": False,
    }


async def test_a_bug_is_not_dressed_up_as_the_providers_failure() -> None:
    delivery = Delivery(LO, KeyError("ours"))
    with pytest.raises(KeyError):
        await delivery.read()
    assert type(delivery.closed[0]) is KeyError


# --- Closed exactly once ------------------------------------------------------------


async def test_a_client_that_goes_closes_the_reply() -> None:
    delivery = Delivery(LO, LO, STOP)
    reply = await delivery.opened()
    async with aclosing(reply.events()) as events:
        await anext(events)
    (ended_by,) = delivery.closed
    assert type(ended_by) is GeneratorExit
    await reply.close()
    assert len(delivery.closed) == 1


async def test_a_client_that_goes_with_the_sentinel_has_had_a_complete_answer() -> None:
    delivery = Delivery(STOP)
    reply = await delivery.opened()
    async with aclosing(reply.events()) as events:
        async for piece in events:
            if piece == DONE:
                break
    assert delivery.closed == [None]


async def test_a_cancelled_delivery_closes_the_reply() -> None:
    delivery = Delivery(LO, 3.0, STOP)
    task = asyncio.create_task(delivery.read())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (ended_by,) = delivery.closed
    assert type(ended_by) is asyncio.CancelledError


async def test_a_reply_that_nobody_reads_is_closed_by_its_owner() -> None:
    delivery = Delivery(STOP)
    reply = await delivery.opened()
    await asyncio.gather(reply.close(), reply.close(), reply.close())
    assert delivery.closed == [None]


async def test_a_reply_that_was_closed_stays_closed_when_it_is_read_after_all() -> None:
    delivery = Delivery(STOP)
    reply = await delivery.opened()
    await reply.close(LOST)
    async for _ in reply.events():
        pass
    assert delivery.closed == [LOST]
