"""Asks another target as well when one is late, and takes whoever answers first.

Rule: before commit only, one hedge per target asked, onto another that is ready, and
paid for twice: by a share of the calls (5 %), so that hedges cannot add more load than
that, and by the other target's retry budget, so that they stop while it is in trouble.
An error never wins while the other is still being asked. Whoever loses is cancelled
and awaited: when the call goes on, nothing of it is left behind.

After Dean and Barroso, "The Tail at Scale" (CACM, 2013): deferred to the 95th
percentile of the expected latency, a hedge costs 5 % more requests and cuts the tail.
"""

import asyncio
from functools import partial

from resilience.budget import RetryBudget
from resilience.call import AttemptKind, Call
from resilience.clock import Clock
from resilience.events import (
    HedgeCancelled,
    HedgeLost,
    HedgeStarted,
    HedgeWon,
    RetryBudgetExhausted,
)
from resilience.outcome import Classify
from resilience.policy import Operation
from resilience.target import Others, Target

_LOOK_AGAIN_S = 0.1

type Failures = list[tuple[Target, BaseException]]


class Hedge:
    """Hedges of one route, or of all routes with the same share.

    `budget_ratio` of the calls of the last `window_s` seconds may be hedged.
    """

    def __init__(
        self,
        clock: Clock,
        classify: Classify,
        *,
        budget_ratio: float = 0.05,
        window_s: float = 60.0,
    ) -> None:
        self.classify = classify
        self.share = RetryBudget(
            clock, ratio=budget_ratio, floor_per_s=0.0, ttl_s=window_s
        )

    async def execute[T](
        self,
        operation: Operation[T],
        call: Call,
        target: Target,
        others: Others,
        also_failed: Failures,
    ) -> T:
        """Run `operation` on `target`, and on one of `others` too when it is late.

        `call` is left as whoever answered left it. If both fail, the other's error is
        added to `also_failed`.

        Raises:
            Exception: `target`'s error; the other one, if it was asked, failed too.
        """
        first = not call.attempts
        try:
            late_s = target.tail_s
            if late_s is None or late_s >= call.deadline.remaining_s() or not others():
                return await target.pipeline.execute(operation, call)
            race = _Race(self, operation, call, others, late_s)
            return await race.run(target, also_failed)
        finally:
            if first and call.attempts:
                self.share.deposit()


class _Racer[T]:
    """One of the two: a target, being asked in a task under its own fork of the call.

    Its leases are thereby its own; only the winner's become the call's. The task never
    fails: a failed task and an `asyncio.timeout` within it would hold each other, and
    all that the error's traceback reaches, until the collector comes.
    """

    __slots__ = ("answers", "error", "fork", "target", "task")

    def __init__(self, operation: Operation[T], target: Target, fork: Call) -> None:
        self.fork = fork
        self.target = target
        self.answers: list[T] = []
        """The one answer, once it has opened."""
        self.error: BaseException | None = None
        """Why it failed, or that it was cancelled, once it has ended so."""
        # Eager, so that an answer that needs no wait costs no task switch.
        self.task = asyncio.Task(
            self._run(operation),
            loop=asyncio.get_running_loop(),
            eager_start=True,
        )

    async def _run(self, operation: Operation[T]) -> None:
        try:
            self.answers = [await self.target.pipeline.execute(operation, self.fork)]
        except (Exception, asyncio.CancelledError) as exc:
            self.error = exc

    def forget(self) -> None:
        """Let go of what it ended with."""
        self.answers, self.error = [], None


class _Race[T]:
    """One target that may become late, and the hedge that is made then."""

    def __init__(
        self,
        rules: Hedge,
        operation: Operation[T],
        call: Call,
        others: Others,
        late_s: float,
    ) -> None:
        self._rules = rules
        self._operation = operation
        self._call = call
        self._others = others
        self._late_s = late_s
        self._sent_before = len(call.attempts)
        self._racers: list[_Racer[T]] = []
        """The target first, then the hedge, if there is one."""
        self._winner: _Racer[T] | None = None

    async def run(self, target: Target, also_failed: Failures) -> T:
        """Return the first answer, or raise the target's error."""
        try:
            self._ask(target, self._call.kind)
            try:
                await self._until_late()
                await self._until_opened()
                await self._leave_the_rest()
            except asyncio.CancelledError:
                self._winner = None
                await self._leave_the_rest()
                raise
            finally:
                self._settle()
            return self._result(also_failed)
        finally:
            # An error's traceback holds racers and forks: neither may lead back to it.
            for racer in self._racers:
                racer.forget()
            self._racers.clear()
            self._winner = None

    def _ask(self, target: Target, kind: AttemptKind) -> None:
        fork = self._call.fork()
        fork.target, fork.kind = target.name, kind
        fork.alternative_ready = partial(self._another_than, len(self._racers))
        self._racers.append(_Racer(self._operation, target, fork))

    def _another_than(self, position: int) -> bool:
        """While two are being asked, each is the other's alternative."""
        for other, racer in enumerate(self._racers):
            if other != position and not racer.task.done():
                return True
        return self._others()

    async def _until_late(self) -> None:
        """Wait until the target is late, and hedge; or until it has ended."""
        task, wait_s = self._racers[0].task, self._late_s
        while not task.done():
            if wait_s <= 0:
                self._hedge()
                return
            await asyncio.wait((task,), timeout=wait_s)
            wait_s = self._late_in_s()

    def _late_in_s(self) -> float:
        """Seconds until the attempt now under way will be late.

        Waiting for a slot or for a retry is not being late; nor is an attempt whose
        first token has come, or cannot be told from its last.
        """
        sent = self._call.attempts[self._sent_before :]
        if not sent:
            return self._late_s
        attempt = sent[-1]
        silent = attempt.first_token_at_s is None and attempt.ended_at_s is None
        if attempt.whole or not silent:
            return max(self._late_s, _LOOK_AGAIN_S)
        now_s = self._call.deadline.clock.now()
        return attempt.started_at_s + self._late_s - now_s

    def _hedge(self) -> None:
        call, rules = self._call, self._rules
        other = self._others.next_ready()
        if other is None or call.attempts_left <= 0 or not rules.share.try_withdraw():
            return
        if other.budget is not None and not other.budget.try_withdraw():
            rules.share.refund()
            call.emit(RetryBudgetExhausted(other.name, AttemptKind.HEDGE))
            return
        self._others.take(other)
        call.emit(HedgeStarted(self._racers[0].target.name, other.name, self._late_s))
        self._sent_before = len(call.attempts)
        self._ask(other, AttemptKind.HEDGE)

    async def _until_opened(self) -> None:
        """Wait until one has opened, the target if both have, or both have failed."""
        while True:
            self._winner = next((one for one in self._racers if one.answers), None)
            running = [racer.task for racer in self._racers if not racer.task.done()]
            if self._winner is not None or not running:
                return
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)

    async def _leave_the_rest(self) -> None:
        """Cancel everyone but the winner, and wait until nothing is left of them.

        A cancellation that arrives meanwhile is delivered afterwards.
        """
        leaving = [racer for racer in self._racers if racer is not self._winner]
        for racer in leaving:
            racer.task.cancel()
        interrupted = False
        while running := [racer.task for racer in leaving if not racer.task.done()]:
            try:
                await asyncio.wait(running)
            except asyncio.CancelledError:
                interrupted = True
        for racer in leaving:
            if racer.answers:  # in that very moment, or in spite of its cancellation
                try:
                    await racer.fork.close(asyncio.CancelledError())
                except asyncio.CancelledError:
                    interrupted = True
        if interrupted:
            raise asyncio.CancelledError

    def _settle(self) -> None:
        """Give back what an unsent hedge was booked for, and tell how it went."""
        if len(self._racers) < 2:
            return
        target, hedge = self._racers
        sent = self._call.attempts[self._sent_before :]
        if not any(attempt.kind is AttemptKind.HEDGE for attempt in sent):
            self._rules.share.refund()
            if hedge.target.budget is not None:
                hedge.target.budget.refund()
        names = target.target.name, hedge.target.name
        if self._winner is hedge:
            self._call.emit(HedgeWon(*names))
        elif isinstance(hedge.error, Exception):
            reason = self._rules.classify(hedge.error).reason
            self._call.emit(HedgeLost(*names, reason))
        elif self._winner is target:
            self._call.emit(HedgeLost(*names, "beaten"))
        else:
            self._call.emit(HedgeCancelled(*names))

    def _result(self, also_failed: Failures) -> T:
        if self._winner is not None:
            self._call.adopt(self._winner.fork)
            return self._winner.answers[0]
        also_failed += [
            (other.target, other.error or asyncio.CancelledError())
            for other in self._racers[1:]
        ]
        raise self._racers[0].error or asyncio.CancelledError()
