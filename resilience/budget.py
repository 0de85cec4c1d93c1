"""What share of a target's traffic may be retries, hedges or fallbacks onto it.

Rule: first attempts deposit, every further attempt withdraws. A retry or a hedge is
not made when nothing is left; a fallback draws on the same account, so that retries
onto a target stop while it carries another's load, but is not refused: each call falls
back onto a target once at the most, so that it cannot multiply. After Finagle's
RetryBudget: deposits live for a while, and a floor per second keeps retries possible
at low traffic.
"""

from resilience.call import AttemptKind, Call
from resilience.clock import Clock
from resilience.policy import Operation

_BUCKETS = 10


class RetryBudget:
    """A rolling account, in attempts.

    `ratio` of each first attempt is deposited and lives for `ttl_s` seconds;
    `floor_per_s` further attempts per second are always allowed.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        ratio: float = 0.2,
        floor_per_s: float = 3.0,
        ttl_s: float = 10.0,
    ) -> None:
        self._clock = clock
        self._ratio = ratio
        self._reserve = floor_per_s * ttl_s
        self._bucket_s = ttl_s / _BUCKETS
        self._deposits = [0] * _BUCKETS
        self._withdrawals = [0] * _BUCKETS
        self._head = int(clock.now() // self._bucket_s)

    def deposit(self) -> None:
        """Record a first attempt."""
        self._deposits[self._advance()] += 1

    def try_withdraw(self) -> bool:
        """Take one further attempt from the account; False when it is empty."""
        bucket = self._advance()
        if self._balance() < 1:
            return False
        self._withdrawals[bucket] += 1
        return True

    def withdraw(self) -> None:
        """Take one further attempt even if that empties the account."""
        self._withdrawals[self._advance()] += 1

    def refund(self) -> None:
        """Give back one withdrawal whose attempt was never sent."""
        head = self._advance()
        for age in range(_BUCKETS):  # it may have been made before a long backoff
            bucket = (head - age) % _BUCKETS
            if self._withdrawals[bucket]:
                self._withdrawals[bucket] -= 1
                return

    def remaining_ratio(self) -> float:
        """Return what is left of the account, from 0 (empty) to 1 (untouched)."""
        self._advance()
        full = self._reserve + self._ratio * sum(self._deposits)
        return max(0.0, self._balance() / full) if full else 0.0

    async def execute[T](self, operation: Operation[T], call: Call) -> T:
        """Run `operation`, booking it as a first attempt or a fallback.

        Retries and hedges were booked by whoever decided on them. Belongs inside the
        layers that refuse: what is not sent is not booked.
        """
        if not call.attempts:
            self.deposit()
        elif call.kind is AttemptKind.FALLBACK:
            self.withdraw()
        return await operation(call)

    def _balance(self) -> float:
        earned = self._reserve + self._ratio * sum(self._deposits)
        return earned - sum(self._withdrawals)

    def _advance(self) -> int:
        """Clear the buckets that have expired; return the current one's index."""
        now = int(self._clock.now() // self._bucket_s)
        if now == self._head:
            return now % _BUCKETS
        for passed in range(self._head + 1, min(now, self._head + _BUCKETS) + 1):
            self._deposits[passed % _BUCKETS] = 0
            self._withdrawals[passed % _BUCKETS] = 0
        self._head = max(now, self._head)
        return self._head % _BUCKETS
