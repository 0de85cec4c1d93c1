"""The stream of requests: sent on time, whatever becomes of the ones before.

Open model: a request is sent every 1/rate seconds, every second one streamed. Bounded:
each ends within `GIVE_UP_S`, and no more than rate times `GIVE_UP_S` are open.
"""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import httpx

from scripts.demo.answers import StreamHeard, Verdict, failed, judge_plain
from scripts.demo.tally import Result

GIVE_UP_S = 15.0
_PATH = "/v1/chat/completions"


class Caller:
    """A client of the gateway. A context manager: leaving it waits for no answer."""

    def __init__(self, url: str, key: str, model: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=GIVE_UP_S,
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )
        self._model = model
        self._began_at = time.monotonic()

    async def __aenter__(self) -> Self:
        self._began_at = time.monotonic()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    def now_s(self) -> float:
        """Return the seconds since the run began."""
        return time.monotonic() - self._began_at

    async def send_steadily(
        self, rate_per_s: float, stop: asyncio.Event, record: Callable[[Result], None]
    ) -> None:
        """Send until `stop`, then wait until all that was sent has ended."""
        sent = 0
        async with asyncio.TaskGroup() as under_way:
            began_at_s = self.now_s()
            while not stop.is_set():
                under_way.create_task(self._record(sent % 2 == 0, record))
                sent += 1
                due_in_s = began_at_s + sent / rate_per_s - self.now_s()
                await asyncio.sleep(max(0.0, due_in_s))

    async def _record(self, stream: bool, record: Callable[[Result], None]) -> None:
        record(await self.ask(stream=stream))

    async def ask(self, *, stream: bool) -> Result:
        """Send one request, and judge what comes back."""
        sent_at_s = self.now_s()
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": "Count for me."}],
            "stream": stream,
        }
        provider: str | None = None
        attempts = 0
        try:
            async with (
                asyncio.timeout(GIVE_UP_S),
                self._client.stream("POST", _PATH, json=body) as answer,
            ):
                target = answer.headers.get("x-gateway-target", "")
                provider = target.partition("/")[0] or None
                attempts = int(answer.headers.get("x-gateway-attempts", 0))
                verdict = await _judge(answer, provider, stream=stream)
        except TimeoutError:
            verdict = failed(f"no end within {GIVE_UP_S:.0f} s")
        except httpx.HTTPError as exc:
            verdict = failed(f"{type(exc).__name__}: {exc}")
        return Result(stream, sent_at_s, self.now_s(), verdict, provider, attempts)

    async def metrics(self) -> str:
        """Return the gateway's metrics. Raises: httpx.HTTPError."""
        answer = await self._client.get("/metrics")
        return answer.text


async def _judge(
    answer: httpx.Response, provider: str | None, *, stream: bool
) -> Verdict:
    if answer.status_code != httpx.codes.OK:
        said = (await answer.aread()).decode(errors="replace")
        return failed(f"{answer.status_code}: {said[:200]}")
    if provider is None:
        return failed("nothing says who answered")
    if not stream:
        return judge_plain(await answer.aread(), provider)
    heard = StreamHeard()
    async for line in answer.aiter_lines():
        heard.hear(line)
    return heard.verdict(provider)
