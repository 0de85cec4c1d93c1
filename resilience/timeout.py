"""Connect, first-token, idle, progress and total limits of an attempt.

Rule: limits bound the *target's* time, never the client's: a stream whose reader is
slow does not run into them. Before the reply is opened `Timeouts` bounds the attempt;
afterwards `GuardedStream` does, with one lazily re-armed timer per stream and a
timestamp per chunk. The call's deadline is kept in both.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

from resilience.call import Call
from resilience.errors import (
    DeadlineExceeded,
    FirstTokenTimeout,
    IdleTimeout,
    TimedOut,
    TooSlow,
    TotalTimeout,
)
from resilience.events import PhaseTimedOut
from resilience.policy import Operation


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each phase of an attempt may take, in seconds.

    `connect_s` is for the operation to keep, since only it knows what connecting is;
    `first_token_s` bounds send to opened reply; `idle_s` a silence in a stream;
    `min_tokens_per_s`, over `progress_window_s` of waiting, a stream that dribbles
    (0 switches it off); `total_s` the whole attempt.
    """

    connect_s: float = 2.0
    first_token_s: float = 10.0
    idle_s: float = 15.0
    min_tokens_per_s: float = 0.5
    progress_window_s: float = 30.0
    total_s: float = 120.0


class Timeouts:
    """Bounds the time from send to opened reply."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._silence_s = min(limits.first_token_s, limits.total_s)

    async def execute[T](self, operation: Operation[T], call: Call) -> T:
        """Run `operation`: until its first token is due, then until its total limit.

        Raises:
            FirstTokenTimeout: the target was silent for too long.
            TotalTimeout: the operation went on for longer than an attempt may.
            DeadlineExceeded: the call's deadline came first.
        """
        clock = call.deadline.clock
        started_s = clock.now()
        remaining_s = call.deadline.at_s - started_s
        if remaining_s <= 0:
            raise DeadlineExceeded(0)
        hard_s = min(self._limits.total_s, remaining_s)
        awaited_s = min(self._silence_s, remaining_s)
        waiting = True

        def first_token_came() -> None:
            nonlocal waiting
            if scope.expired():
                return  # too late: the operation is being cancelled
            waiting = False
            left_s = hard_s - (clock.now() - started_s)
            scope.reschedule(asyncio.get_running_loop().time() + max(0.0, left_s))

        call.on_first_token = first_token_came
        try:
            async with asyncio.timeout(awaited_s) as scope:
                return await operation(call)
        except TimeoutError:
            if not scope.expired():
                raise  # the operation's own
        finally:
            call.on_first_token = None
        raise self._told(call, self._which(waiting and awaited_s < hard_s, remaining_s))

    def _told(self, call: Call, timed_out: TimedOut) -> TimedOut:
        call.emit(PhaseTimedOut(call.target, timed_out.phase))
        return timed_out

    def _which(self, silent: bool, remaining_s: float) -> TimedOut:
        if silent:
            return FirstTokenTimeout(self._limits.first_token_s)
        if remaining_s <= self._limits.total_s:
            return DeadlineExceeded(remaining_s)
        return TotalTimeout(self._limits.total_s)


class GuardedStream[T]:
    """A stream whose silences, rate and total length are bounded.

    Only time spent waiting for the source counts. When a limit is exceeded the wait
    ends with the limit's error, and the source is left cancelled.

    Args:
        source: the items; its `__anext__` must be cancellable.
        call: whose attempt is read, and whose deadline holds.
        limits: the limits.
        weigh: how many tokens an item carries (0 for a keep-alive).

    Its limits hold from the attempt's first token on: until then `Timeouts` bounds the
    wait. The timer stops with the stream, or when the call's leases are released.

    Raises:
        IdleTimeout, TooSlow, TotalTimeout, DeadlineExceeded: from iteration.
    """

    def __init__(
        self,
        source: AsyncIterator[T],
        call: Call,
        limits: Limits,
        weigh: Callable[[T], int],
    ) -> None:
        self._source = source
        self._call = call
        self._limits = limits
        self._weigh = weigh
        self._clock = call.deadline.clock
        attempt = call.attempt
        assert attempt is not None, "a guarded stream belongs to an attempt"  # noqa: S101 - states the caller's duty to the type checker
        self._attempt = attempt
        total_ends_s = attempt.started_at_s + limits.total_s
        self._by_deadline = call.deadline.at_s <= total_ends_s
        self._hard_end_s = min(call.deadline.at_s, total_ends_s)
        self._waiting_task: asyncio.Task[object] | None = None
        self._waiting_since_s = 0.0
        self._expired: Callable[[], TimedOut] | None = None
        """Makes the error of the limit that was exceeded, anew each time."""
        self._interrupted_by: Callable[[], TimedOut] | None = None
        """The same, if the timer had to cancel a wait for it."""
        self._window_starts_s = self._clock.now()
        self._window_waited_s = 0.0
        self._window_tokens = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        call.leases.callback(self.stop)

    def __aiter__(self) -> "GuardedStream[T]":
        """Return itself."""
        return self

    async def __anext__(self) -> T:
        """Return the next item, or raise the error of the limit it exceeded."""
        if self._expired is not None:
            raise self._expired()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that asyncio runs has a task
        cancelling_before = task.cancelling()
        self._waiting_task, self._waiting_since_s = task, self._clock.now()
        if self._timer is None:
            self._start()
        try:
            item = await self._source.__anext__()
        except BaseException as exc:  # cancelled too, perhaps by our own timer
            self.stop()
            interrupted_by = self._interrupted_by
            # As asyncio.Timeout does: our own cancellation is taken back, and if
            # another one arrived as well, that one wins.
            if interrupted_by is None or (
                task.uncancel() > cancelling_before
                and isinstance(exc, asyncio.CancelledError)
            ):
                raise
        else:
            self._note(item)
            if self._interrupted_by is not None:
                task.uncancel()  # the source ignored it
            return item
        finally:
            self._waiting_task = None
        raise interrupted_by()

    def stop(self) -> None:
        """Stop the timer; the stream is no longer bounded."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _note(self, item: T) -> None:
        waited_from_s = max(self._waiting_since_s, self._window_starts_s)
        self._window_waited_s += self._clock.now() - waited_from_s
        tokens = self._weigh(item)
        self._window_tokens += tokens
        self._attempt.tokens += tokens

    def _start(self) -> None:
        if self._stopped or self._attempt.first_token_at_s is None:
            return
        self._window_starts_s = self._waiting_since_s
        self._window_waited_s, self._window_tokens = 0.0, 0
        self._arm(self._waiting_since_s)

    def _arm(self, now_s: float) -> None:
        waiting = self._waiting_task is not None
        due_s = min(
            self._hard_end_s,
            (self._waiting_since_s if waiting else now_s) + self._limits.idle_s,
            self._window_starts_s + self._limits.progress_window_s,
        )
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, due_s - now_s), self._on_timer)

    def _on_timer(self) -> None:
        now_s = self._clock.now()
        self._expired = self._exceeded(now_s)
        if self._expired is None:
            self._arm(now_s)
            return
        self._call.emit(PhaseTimedOut(self._call.target, self._expired().phase))
        if self._waiting_task is not None:
            self._interrupted_by = self._expired
            self._waiting_task.cancel()

    def _exceeded(self, now_s: float) -> Callable[[], TimedOut] | None:
        limits = self._limits
        if now_s >= self._hard_end_s:
            if self._by_deadline:
                lasted_s = now_s - self._attempt.started_at_s
                return partial(DeadlineExceeded, lasted_s)
            return partial(TotalTimeout, limits.total_s)
        waiting = self._waiting_task is not None
        if waiting and now_s - self._waiting_since_s >= limits.idle_s:
            return partial(IdleTimeout, limits.idle_s)
        if now_s - self._window_starts_s < limits.progress_window_s:
            return None
        if self._window_was_slow(now_s):
            return partial(TooSlow, limits.progress_window_s)
        return None

    def _window_was_slow(self, now_s: float) -> bool:
        """Close a progress window; time in which nobody read is not held against it."""
        waited_s, tokens = self._window_waited_s, self._window_tokens
        if self._waiting_task is not None:
            waited_s += now_s - max(self._waiting_since_s, self._window_starts_s)
        self._window_starts_s = now_s
        self._window_waited_s, self._window_tokens = 0.0, 0
        limits = self._limits
        if waited_s < limits.progress_window_s / 2:
            return False
        # Whole tokens: the one under way is owed to the next window.
        return tokens < int(limits.min_tokens_per_s * waited_s)
