"""Holds a request against its key's limits, before anything is sent upstream.

Rule: one store round trip per call at the most, none for a key without limits. When
the store is away, this process's own limits hold instead. Algorithms live in
`scripts/` and `local.py`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol

from app.domain import Client
from app.errors import RateLimited, StoreUnavailable
from app.quota.local import MICRO, Decision, LocalLimits
from resilience.clock import Clock


@dataclass(frozen=True, slots=True)
class Hold:
    """What a call was admitted with; None where the key has no such limit.

    `limit` and `remaining` are requests per minute; `reset_after_s` is when the whole
    limit is free again.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_after_s: float | None = None


_UNLIMITED = Hold()

type RunScript = Callable[[Sequence[str], Sequence[int]], Awaitable[list[int]]]


class ScriptStore(Protocol):
    """What the ledger needs of a store."""

    def script(self, source: str) -> RunScript:
        """Return a callable that runs `source` with keys and arguments.

        It raises `StoreUnavailable` when there is no answer in time.
        """
        ...


class Ledger:
    """The limits of every key."""

    def __init__(self, store: ScriptStore | None, clock: Clock) -> None:
        self._local = LocalLimits(clock)
        self._script: RunScript | None = None
        if store is not None:
            source = files("app.quota.scripts").joinpath("hold.lua").read_text("utf-8")
            self._script = store.script(source)

    async def hold(self, client: Client) -> Hold:
        """Count one request of `client`.

        Raises:
            RateLimited: it has used up its requests for now.
        """
        limit = client.requests_per_minute
        if limit is None:
            return _UNLIMITED
        decision = await self._decide(client.key_id, limit)
        if not decision.admitted:
            raise RateLimited(
                f"This API key may send {limit} requests per minute.",
                retry_after_s=decision.retry_after_s,
            )
        return Hold(limit, decision.remaining, decision.reset_after_s)

    async def _decide(self, key_id: str, limit: int) -> Decision:
        interval_us = max(1, 60 * MICRO // limit)
        key = f"bw:{{{key_id}}}:requests"
        if self._script is not None:
            try:
                admitted, remaining, wait, reset = await self._script(
                    [key], [interval_us, limit]
                )
            except StoreUnavailable:
                pass
            else:
                return Decision(bool(admitted), remaining, wait / MICRO, reset / MICRO)
        return self._local.hold(key, interval_us=interval_us, burst=limit)
