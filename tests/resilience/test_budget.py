"""The retry budget: a share of first attempts, and a floor, never more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.budget import RetryBudget
from resilience.call import AttemptKind, Call
from resilience.deadline import Deadline
from resilience.testing import ManualClock

steps = st.lists(
    st.one_of(
        st.floats(0, 4, allow_nan=False),  # seconds that pass
        st.sampled_from(["deposit", "try_withdraw", "withdraw", "refund"]),
    ),
    max_size=80,
)


class NaiveBudget:
    """The same account as a plain list of dated bookings."""

    def __init__(self, ratio: float, reserve: float, ttl_s: float) -> None:
        self.ratio, self.reserve, self.bucket_s = ratio, reserve, ttl_s / 10
        self.deposits: list[int] = []
        self.withdrawals: list[int] = []

    def forget(self, now_s: float) -> None:
        oldest = int(now_s // self.bucket_s) - 10
        self.deposits = [at for at in self.deposits if at > oldest]
        self.withdrawals = [at for at in self.withdrawals if at > oldest]

    @property
    def full(self) -> float:
        return self.reserve + self.ratio * len(self.deposits)

    @property
    def balance(self) -> float:
        return self.full - len(self.withdrawals)


@given(
    ratio=st.sampled_from([0.0, 0.2, 1.0]),
    floor_per_s=st.sampled_from([0.0, 0.1, 3.0]),
    ttl_s=st.sampled_from([1.0, 10.0]),
    steps=steps,
)
def test_the_budget_agrees_with_a_list_of_bookings(
    ratio: float, floor_per_s: float, ttl_s: float, steps: list[float | str]
) -> None:
    clock = ManualClock()
    budget = RetryBudget(clock, ratio=ratio, floor_per_s=floor_per_s, ttl_s=ttl_s)
    naive = NaiveBudget(ratio, floor_per_s * ttl_s, ttl_s)
    for step in steps:
        if isinstance(step, float):
            clock.advance(step)
            continue
        naive.forget(clock.now())
        now = int(clock.now() // naive.bucket_s)
        match step:
            case "deposit":
                budget.deposit()
                naive.deposits.append(now)
            case "withdraw":
                budget.withdraw()
                naive.withdrawals.append(now)
            case "refund":
                budget.refund()
                if naive.withdrawals:
                    naive.withdrawals.remove(max(naive.withdrawals))
            case _:
                granted = budget.try_withdraw()
                assert granted == (naive.balance >= 1)
                if granted:
                    naive.withdrawals.append(now)
        expected = max(0.0, naive.balance / naive.full) if naive.full else 0.0
        assert budget.remaining_ratio() == pytest.approx(expected)


def test_at_low_traffic_the_floor_allows_retries(clock: ManualClock) -> None:
    budget = RetryBudget(clock, ratio=0.2, floor_per_s=0.5, ttl_s=10.0)

    assert [budget.try_withdraw() for _ in range(6)] == [True] * 5 + [False]

    clock.advance(11.0)
    assert budget.try_withdraw()


def test_retries_are_at_most_the_share_of_first_attempts(clock: ManualClock) -> None:
    budget = RetryBudget(clock, ratio=0.2, floor_per_s=0.0)
    for _ in range(100):
        budget.deposit()

    assert sum(budget.try_withdraw() for _ in range(100)) == 20


def test_a_withdrawal_that_was_not_used_comes_back_even_after_a_long_backoff(
    clock: ManualClock,
) -> None:
    budget = RetryBudget(clock, ratio=0.0, floor_per_s=0.1, ttl_s=10.0)
    assert budget.try_withdraw() and not budget.try_withdraw()
    clock.advance(5.0)

    budget.refund()

    assert budget.try_withdraw()


def test_by_default_a_fifth_of_the_traffic_and_three_per_second_may_be_retries(
    clock: ManualClock,
) -> None:
    budget = RetryBudget(clock)
    assert sum(budget.try_withdraw() for _ in range(100)) == 30

    for _ in range(50):
        budget.deposit()

    assert sum(budget.try_withdraw() for _ in range(100)) == 10


def test_a_booking_lives_until_its_tenth_of_the_time_leaves(
    clock: ManualClock,
) -> None:
    budget = RetryBudget(clock, ratio=0.0, floor_per_s=0.1, ttl_s=10.0)
    clock.advance(1.0)
    assert budget.try_withdraw()

    clock.advance(9.95)
    assert not budget.try_withdraw()

    clock.advance(0.05)
    assert budget.try_withdraw()


def test_an_account_with_a_long_memory_forgets_too(clock: ManualClock) -> None:
    budget = RetryBudget(clock, ratio=0.0, floor_per_s=0.05, ttl_s=20.0)
    assert budget.try_withdraw()

    clock.advance(21.0)

    assert budget.try_withdraw()


def test_what_is_left_is_told_without_what_has_expired(clock: ManualClock) -> None:
    budget = RetryBudget(clock, ratio=0.0, floor_per_s=0.1, ttl_s=10.0)
    budget.withdraw()
    assert budget.remaining_ratio() == 0.0

    clock.advance(10.0)

    assert budget.remaining_ratio() == 1.0


def test_the_latest_withdrawal_is_the_one_that_comes_back(clock: ManualClock) -> None:
    budget = RetryBudget(clock, ratio=0.0, floor_per_s=0.4, ttl_s=10.0)
    budget.withdraw()
    clock.advance(5.0)
    budget.withdraw()
    clock.advance(1.0)

    budget.refund()

    assert budget.remaining_ratio() == pytest.approx(0.75), "one of four is out"
    clock.advance(5.0)
    assert budget.remaining_ratio() == 1.0, "the earlier one has expired"


@pytest.mark.parametrize(
    ("kind", "first", "left"),
    [
        (AttemptKind.PRIMARY, True, 1.0),
        (AttemptKind.FALLBACK, True, 1.0),
        (AttemptKind.FALLBACK, False, 0.9),
        (AttemptKind.RETRY, False, 1.0),
    ],
)
async def test_what_is_sent_is_booked_by_its_kind(
    clock: ManualClock, kind: AttemptKind, first: bool, left: float
) -> None:
    budget = RetryBudget(clock, ratio=0.2, floor_per_s=1.0, ttl_s=10.0)
    call = Call(Deadline.after(clock, 10.0))
    call.kind = kind
    if not first:
        call.begin_attempt()

    async def answers(call: Call) -> str:
        return "answer"

    assert await budget.execute(answers, call) == "answer"
    assert budget.remaining_ratio() == pytest.approx(left)


async def test_a_first_attempt_is_deposited_and_made_with_its_call(
    clock: ManualClock,
) -> None:
    budget = RetryBudget(clock, ratio=1.0, floor_per_s=0.0)
    call, seen = Call(Deadline.after(clock, 10.0)), []

    async def looks(call: Call) -> None:
        seen.append(call)

    await budget.execute(looks, call)

    assert seen == [call]
    assert [budget.try_withdraw(), budget.try_withdraw()] == [True, False]


def test_an_account_with_a_long_memory_remembers(clock: ManualClock) -> None:
    budget = RetryBudget(clock, ratio=0.0, floor_per_s=0.05, ttl_s=20.0)
    assert budget.try_withdraw()

    clock.advance(10.0)

    assert not budget.try_withdraw()


def test_after_a_silence_of_any_length_the_account_is_at_hand(
    clock: ManualClock,
) -> None:
    budget = RetryBudget(clock, ratio=0.0, floor_per_s=0.1)
    assert budget.try_withdraw()

    clock.advance(1e15)

    assert budget.try_withdraw()


def test_a_reading_from_the_past_makes_no_booking_expire(clock: ManualClock) -> None:
    budget = RetryBudget(clock, ratio=0.0, floor_per_s=0.1)
    assert budget.try_withdraw()
    clock.advance(-5.0)
    assert not budget.try_withdraw()

    clock.advance(5.0)

    assert not budget.try_withdraw()
