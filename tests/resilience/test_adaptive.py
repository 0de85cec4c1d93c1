"""The adaptive limit: what attempts tell of it, on a clock that is moved by hand."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.errors import (
    BulkheadFull,
    ConnectTimeout,
    DeadlineExceeded,
    FirstTokenTimeout,
    IdleTimeout,
    TooSlow,
    TotalTimeout,
)
from tests.resilience.adaptive_driver import Fed, cut
from tests.resilience.scenery import (
    AUTH_FAILED,
    OVERLOADED,
    REFUSED,
    UNAVAILABLE,
    ProviderError,
    throttled,
)


def test_a_limit_starts_at_its_ceiling_and_knows_no_latency() -> None:
    fed = Fed(ceiling=64)

    assert fed.limit == 64
    assert fed.adaptive.usual_first_token_s is None


@pytest.mark.parametrize(("floor", "ceiling"), [(0, 4), (5, 4)])
def test_a_floor_below_one_or_above_the_ceiling_is_refused(
    floor: int, ceiling: int
) -> None:
    with pytest.raises(ValueError, match="floor"):
        Fed(floor=floor, ceiling=ceiling)


@pytest.mark.parametrize(
    "error",
    [
        ProviderError(throttled()),
        ProviderError(throttled(retry_after_s=1.0)),
        ProviderError(OVERLOADED),
        ConnectTimeout(2.0),
        FirstTokenTimeout(10.0),
        IdleTimeout(15.0),
        TooSlow(30.0),
    ],
    ids=lambda error: type(error).__name__,
)
def test_timeouts_and_answers_of_too_many_cut_the_limit(error: Exception) -> None:
    fed = Fed(ceiling=50)

    fed.failed(error)

    assert fed.limit == 45


@pytest.mark.parametrize(
    "error",
    [
        ProviderError(UNAVAILABLE),
        ProviderError(AUTH_FAILED),
        ProviderError(REFUSED),
        DeadlineExceeded(1.0),
        TotalTimeout(120.0),
        BulkheadFull("a"),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_says_nothing_of_the_load_leaves_the_limit_alone(
    error: BaseException,
) -> None:
    fed = Fed(ceiling=50)

    for _ in range(200):
        fed.failed(error)

    assert fed.limit == 50


def test_a_stream_that_breaks_in_its_middle_for_other_reasons_tells_nothing() -> None:
    fed = Fed(ceiling=50)
    fed.knows(1.0)

    for _ in range(200):
        attempt = fed.begun()
        attempt.first_token_at_s = fed.clock.now() + 1.0
        fed.fails(attempt, ProviderError(UNAVAILABLE), after_s=60.0)

    assert fed.limit == 50


def test_a_burst_of_timeouts_counts_once() -> None:
    fed = Fed(ceiling=50)
    burst = [fed.begun() for _ in range(50)]

    for attempt in burst:
        fed.fails(attempt, FirstTokenTimeout(10.0), after_s=0.0)

    assert fed.limit == 45
    fed.failed(FirstTokenTimeout(10.0))
    assert fed.limit == 40


def test_what_was_under_way_when_the_limit_was_cut_does_not_raise_it_again() -> None:
    fed = Fed(ceiling=50)
    under_way = [fed.begun() for _ in range(200)]
    fed.failed(ProviderError(OVERLOADED))

    for attempt in under_way:
        attempt.first_token_at_s = fed.clock.now()
        fed.adaptive.record_opened(attempt, 50)

    assert fed.limit == 45


def test_each_clean_round_raises_the_limit_by_twice_as_much_up_to_the_ceiling() -> None:
    fed = cut(times=8, ceiling=64)
    seen = [fed.limit]

    while fed.limit < 64:
        fed.round()
        seen.append(fed.limit)

    assert seen == [27, 28, 30, 34, 42, 58, 64]
    fed.round()
    assert fed.limit == 64


def test_a_cut_makes_the_next_rise_a_small_one_again() -> None:
    fed = cut(times=8, ceiling=64)
    for _ in range(3):
        fed.round()
    fed.failed(ProviderError(OVERLOADED), after_s=0.01)
    before = fed.limit

    fed.round()

    assert fed.limit == before + 1


def test_a_limit_that_is_not_half_used_is_not_raised() -> None:
    fed = cut(times=5, ceiling=64)
    before = fed.limit

    for _ in range(1000):
        fed.opened(in_flight=before // 2 - 1)

    assert fed.limit == before


def test_answers_in_one_piece_raise_the_limit_though_they_have_no_first_token() -> None:
    fed = cut(times=5, ceiling=64)
    before = fed.limit

    fed.round(fed.answered_whole)

    assert fed.limit == before + 1
    assert fed.adaptive.usual_first_token_s is None


def test_the_limit_rises_no_faster_than_the_signs_of_overload_need_to_show() -> None:
    fed = Fed(ceiling=50)
    fed.failed(FirstTokenTimeout(10.0), after_s=10.0)
    assert fed.limit == 45
    cut_at_s = fed.clock.now()

    while fed.limit == 45:
        fed.opened(after_s=0.05)

    # Answers alone would have raised it after 2 s; the next timeout takes 10.
    assert 10.0 <= fed.clock.now() - cut_at_s < 15.0


def test_a_stream_that_stalls_late_does_not_keep_the_limit_down_for_as_long() -> None:
    fed = Fed(ceiling=50)
    fed.failed(IdleTimeout(15.0), after_s=600.0)
    cut_at_s = fed.clock.now()

    while fed.limit == 45:
        fed.opened(after_s=0.05)

    assert 30.0 <= fed.clock.now() - cut_at_s < 35.0


def test_first_tokens_that_come_later_than_usual_lower_the_limit_in_proportion() -> (
    None
):
    fed = Fed(ceiling=50)
    fed.knows(1.0)

    fed.round(lambda: fed.opened(1.3))
    assert fed.limit == 46  # 50 times 1.2 / 1.3

    fed.round(lambda: fed.opened(30.0))
    assert fed.limit == 41  # a tenth at the most


def test_first_tokens_a_little_later_than_usual_keep_the_limit_where_it_is() -> None:
    fed = cut(times=5, ceiling=64)
    fed.knows(1.0)
    before = fed.limit

    for _ in range(10):
        fed.round(lambda: fed.opened(1.15))

    assert fed.limit == before


def test_constant_timeouts_are_not_read_as_a_stable_latency() -> None:
    fed = Fed(ceiling=64)
    fed.knows(1.0)

    for _ in range(100):
        fed.failed(FirstTokenTimeout(10.0), after_s=10.0)

    assert fed.limit == 4
    assert fed.adaptive.usual_first_token_s == pytest.approx(1.0)


def test_nor_are_clients_that_all_give_up_after_the_same_time() -> None:
    fed = Fed(ceiling=64)
    fed.knows(1.0)

    fed.round(lambda: fed.failed(asyncio.CancelledError(), after_s=5.0))

    assert fed.limit == 57
    assert fed.adaptive.usual_first_token_s == pytest.approx(1.0)


def test_a_client_that_gives_up_early_says_nothing_of_the_latency() -> None:
    fed = Fed(ceiling=64)
    fed.knows(1.0)

    for _ in range(500):
        fed.failed(asyncio.CancelledError(), after_s=0.5)

    assert fed.limit == 64


def test_an_answer_in_one_piece_that_was_given_up_has_no_latency_to_bound() -> None:
    fed = Fed(ceiling=64)
    fed.knows(1.0)

    for _ in range(500):
        fed.fails(fed.begun(whole=True), asyncio.CancelledError(), after_s=60.0)

    assert fed.limit == 64


def test_what_is_usual_hardly_creeps_up_under_load() -> None:
    fed = Fed(ceiling=64)
    fed.knows(1.0)

    for _ in range(1000):
        fed.opened(1.15, in_flight=fed.limit)

    assert fed.adaptive.usual_first_token_s == pytest.approx(1.0, abs=0.001)


def test_what_is_usual_and_was_taken_for_too_little_does_not_hold_the_limit_down() -> (
    None
):
    fed = cut(times=22, ceiling=64)
    fed.knows(1.0)
    assert fed.limit == 6

    for _ in range(1000):
        fed.opened(1.15)  # within the tolerance, but too late to raise the limit

    assert fed.limit > 12


def test_the_quick_ones_after_a_cut_are_not_taken_for_all() -> None:
    fed = Fed(ceiling=64)
    fed.knows(1.0)
    fed.failed(ProviderError(OVERLOADED), after_s=0.01)

    for _ in range(int(1.9 / 0.011)):
        fed.opened(0.01)

    assert fed.limit == 57
    assert fed.adaptive.usual_first_token_s == pytest.approx(1.0, abs=0.01)


def test_a_target_that_has_become_slower_for_good_gets_its_limit_back() -> None:
    fed = Fed(ceiling=32)
    fed.knows(1.0)
    lowest = 32

    for _ in range(3000):
        fed.opened(3.0)
        lowest = min(lowest, fed.limit)

    assert lowest == 4, "the new latency is learned with little in flight"
    assert fed.limit == 32
    assert fed.adaptive.usual_first_token_s == pytest.approx(3.0, rel=0.2)


def test_a_target_that_has_become_faster_for_good_is_believed_by_and_by() -> None:
    fed = Fed(ceiling=64)
    fed.knows(3.0)

    for _ in range(20):
        fed.round(lambda: fed.opened(1.0))
    assert fed.adaptive.usual_first_token_s == pytest.approx(1.0, rel=0.21)

    fed.round(lambda: fed.opened(2.0))
    assert fed.limit == 57


_ERRORS = (
    ProviderError(throttled()),
    FirstTokenTimeout(10.0),
    ProviderError(UNAVAILABLE),
    asyncio.CancelledError(),
)

_TOLD = st.lists(
    st.tuples(
        st.sampled_from([None, *_ERRORS]),
        st.floats(0.0, 30.0),
        st.integers(1, 80),
    ),
    max_size=200,
)


def _tell_all(fed: Fed, history: list[tuple[BaseException | None, float, int]]) -> None:
    for error, after_s, in_flight in history:
        if error is None:
            fed.opened(after_s, in_flight)
        else:
            fed.failed(error, after_s, in_flight)


@given(
    history=_TOLD, bounds=st.tuples(st.integers(1, 20), st.integers(0, 60)).map(sorted)
)
def test_whatever_happens_the_floor_and_the_ceiling_hold(
    history: list[tuple[BaseException | None, float, int]], bounds: list[int]
) -> None:
    floor, ceiling = max(1, bounds[0]), max(1, bounds[1])
    fed = Fed(floor=floor, ceiling=ceiling)

    for told in history:
        _tell_all(fed, [told])
        assert floor <= fed.limit <= ceiling


@given(history=_TOLD)
def test_whatever_happened_the_limit_recovers_once_the_target_has(
    history: list[tuple[BaseException | None, float, int]],
) -> None:
    fed = Fed(ceiling=64)
    _tell_all(fed, history)

    for _ in range(100):
        fed.opened(1.0, in_flight=1)  # a quiet time, in which it is quick
    ended_s = fed.clock.now()
    while fed.limit < 64:
        fed.opened(1.0)
        assert fed.clock.now() - ended_s < 600
