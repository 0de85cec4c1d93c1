"""What a request takes is given back, however many come and wherever they end."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest

from app.domain import Client
from app.errors import (
    AppError,
    Overloaded,
)
from app.gateway.reply import DONE
from tests.app.gateway.scene import (
    Scene,
    cancelled_at,
    failing,
    streaming,
    whole,
)
from tests.app.gateway.streams import HEL, LO, ROLE, STOP

DOWN = failing(httpx.ConnectError, "connection refused")
ERROR_500 = whole({"error": {"message": "boom"}}, status=500)
THROTTLED = whole({"error": {}}, status=429, retry_after="30")
CUT = streaming(ROLE, HEL, httpx.ReadError("reset"))


class SlowStore:
    """A store that admits everybody, after a while."""

    def script(self, source: str) -> Callable[..., Awaitable[list[int]]]:
        async def run(keys: Sequence[str], args: Sequence[int]) -> list[int]:
            await asyncio.sleep(0.02)
            return [1, 1, 0, 0]

        return run


LIMITED = Client("k", "team-a", requests_per_minute=10)


async def test_a_burst_does_not_pass_the_limit_together() -> None:
    scene = Scene(store=SlowStore(), max_in_flight=10)
    answers = await asyncio.gather(
        *(scene.stream(client=LIMITED) for _ in range(100)), return_exceptions=True
    )
    refused = [one for one in answers if isinstance(one, BaseException)]
    assert len(refused) == 90
    assert all(type(one) is Overloaded for one in refused)
    scene.assert_at_rest()


async def test_a_hundred_at_once_are_all_answered_and_all_given_back() -> None:
    slow = streaming(HEL, 1.0, LO, STOP, DONE)
    scene = Scene(alpha=[slow], beta=[slow], slots=20, queue=40)
    answers = await asyncio.gather(*(scene.stream() for _ in range(100)))
    assert all(answer == [HEL, LO, STOP, DONE] for answer in answers)
    assert scene.sends == {"alpha": 60, "beta": 40}
    scene.assert_at_rest()


# --- Cancelled anywhere ------------------------------------------------------------

PATHS: dict[str, Callable[[], Scene]] = {
    "answered": lambda: Scene(store=SlowStore()),
    "fallback": lambda: Scene(alpha=[DOWN], store=SlowStore()),
    "refused": lambda: Scene(alpha=[THROTTLED], beta=[ERROR_500]),
    "cut": lambda: Scene(alpha=[CUT]),
    "full": lambda: Scene(slots=0, queue=1),
    "slow": lambda: Scene(alpha=[streaming(20.0)], beta=[streaming(HEL, 20.0)]),
    "garbled": lambda: Scene(alpha=[whole()], beta=[streaming(ROLE)]),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [True, False])
async def test_cancelled_at_any_await_nothing_stays_taken(
    path: str, stream: bool
) -> None:
    cancelled = 0
    while True:
        scene = PATHS[path]()
        ask = scene.stream if stream else scene.complete
        main = ask(client=LIMITED)
        try:
            await asyncio.create_task(_run(cancelled_at(cancelled + 1, main)))
        except asyncio.CancelledError:
            cancelled += 1
        except AppError:
            break
        else:
            break
        scene.assert_at_rest()
        assert scene.value("requests_in_flight", route="chat") in (None, 0)
    scene.assert_at_rest()
    assert cancelled > 0, "the path was not walked"


async def _run[T](main: Any) -> T:
    result: T = await main
    return result
