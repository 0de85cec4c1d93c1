"""One Redis or Valkey, with a time budget per command and a breaker of its own.

Rule: nobody waits for the store. A command that takes longer than its budget, or is
asked while the store is known to be away, raises `StoreUnavailable`, and the caller
does without. No command is retried here, and no key is named here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.errors import StoreUnavailable
from app.store.scripts import Script, ScriptRunner
from resilience.breaker import Breaker, BreakerConfig
from resilience.clock import Clock
from resilience.errors import BreakerOpen

_BREAKER = BreakerConfig(
    consecutive=3, min_calls=20, open_s=0.5, open_cap_s=5.0, permitted=1
)


type Observe = Callable[[str, float, bool], None]
"""Told of each command that was sent: what for, seconds, whether it failed."""

OPERATIONS = ("ping", "script")


def _unobserved(operation: str, took_s: float, failed: bool) -> None:
    """Ignore it."""


class Store:
    """A connection pool to one server.

    `timeout_s` is the budget of each command, connecting included.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        timeout_s: float = 0.05,
        observe: Observe = _unobserved,
    ) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._observe = observe
        self.errors = 0
        """Commands that failed."""
        self.client: Redis = Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
            protocol=2,  # the third costs a new connection further round trips
        )
        self.breaker = Breaker("store", _BREAKER, clock)
        self._scripts = ScriptRunner(self.client, self.command, timeout_s)

    @property
    def up(self) -> bool:
        """Whether the store is believed to answer."""
        return self.breaker.ready

    async def command(
        self, run: Callable[[], Awaitable[Any]], operation: str = "script"
    ) -> Any:
        """Await `run()` within the budget; `operation` is one of `OPERATIONS`.

        Raises:
            StoreUnavailable: the store is away or was too slow.
        """
        try:
            permit = self.breaker.admit()
        except BreakerOpen as exc:
            raise StoreUnavailable(detail="its breaker is open") from exc
        started_s = self._clock.now()
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await run()
        except (RedisError, OSError, TimeoutError) as exc:
            self.errors += 1
            permit.fail()
            self._observe(operation, self._clock.now() - started_s, True)
            raise StoreUnavailable(detail=f"{type(exc).__name__}: {exc}") from exc
        except BaseException:  # cancelled, or a bug: says nothing of the store
            permit.cancel()
            raise
        permit.ok()
        self._observe(operation, self._clock.now() - started_s, False)
        return answer

    def script(self, source: str) -> Script:
        """Return a Lua script, ready to run."""
        return Script(self._scripts, source)

    async def ping(self) -> bool:
        """Ask the store whether it is there."""
        try:
            await self.command(self.client.ping, "ping")
        except StoreUnavailable:
            return False
        return True

    async def close(self) -> None:
        """Close every connection."""
        await self._scripts.close()
        await self.client.aclose()
