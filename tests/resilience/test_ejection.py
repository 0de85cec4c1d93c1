"""Ejection: the bad are asked last for a while, and never too many of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.ejection import Ejection
from resilience.pipeline import Pipeline
from resilience.target import Target
from resilience.testing import ManualClock
from tests.resilience.equals import Stand, stands, targets


def names(group: object) -> str:
    assert isinstance(group, list | tuple)
    return "".join(target.name for target in group)


class Group:
    """A group of equals and the rule for it."""

    def __init__(self, members: str, clock: ManualClock) -> None:
        self.route = stands(members, clock)
        self.ejection = Ejection(clock)

    def __getitem__(self, name: str) -> Stand:
        return self.route[name]

    def split(self) -> tuple[str, str]:
        within, out = self.ejection.split(targets(self.route))
        return names(within), names(out)


def test_while_all_are_well_all_are_in(clock: ManualClock) -> None:
    assert Group("abc", clock).split() == ("abc", "")


def test_one_that_does_badly_is_out(clock: ManualClock) -> None:
    group = Group("abc", clock)
    group["b"].fail()

    assert group.split() == ("ac", "b")


def test_never_more_than_half_are_out_and_they_are_the_worst(
    clock: ManualClock,
) -> None:
    group = Group("abcd", clock)
    for name, times in zip("abcd", (100, 60, 80, 70), strict=True):
        group[name].fail(times)

    assert group.split() == ("bd", "ca"), "the least bad is first of those out"


def test_one_alone_is_never_out(clock: ManualClock) -> None:
    group = Group("a", clock)
    group["a"].fail()

    assert group.split() == ("a", "")


def test_a_place_that_becomes_free_goes_to_the_next_worst(clock: ManualClock) -> None:
    group = Group("ab", clock)
    group["a"].fail()
    assert group.split() == ("b", "a")
    group["b"].fail()
    assert group.split() == ("b", "a"), "there is no room for another"

    clock.advance(30.0)

    assert group.split() == ("a", "b")


def test_who_comes_back_is_judged_by_what_it_does_then(clock: ManualClock) -> None:
    group = Group("abc", clock)
    group["a"].fail()
    assert group.split() == ("bc", "a")
    clock.advance(30.0)
    assert group.split() == ("abc", ""), "still unwell, but on no new evidence"

    clock.advance(1.0)
    group["a"].fail(1)

    assert group.split() == ("bc", "a")


@pytest.mark.parametrize(
    ("stays_in_s", "then_out_s"), [(1.0, [60.0, 120.0, 240.0, 300.0]), (31.0, [30.0])]
)
def test_the_time_out_doubles_unless_it_stayed_in_for_as_long(
    clock: ManualClock, stays_in_s: float, then_out_s: list[float]
) -> None:
    group = Group("abc", clock)
    group["a"].fail()
    group.split()
    clock.advance(30.0)
    for out_s in then_out_s:
        clock.advance(stays_in_s)
        group["a"].fail(1)
        assert group.split() == ("bc", "a")
        clock.advance(out_s - 0.5)
        assert group.split() == ("bc", "a")
        clock.advance(0.5)
        assert group.split() == ("abc", "")


def test_who_is_well_again_stays_in(clock: ManualClock) -> None:
    group = Group("abc", clock)
    group["a"].fail()
    group.split()
    clock.advance(30.0)
    group["a"].answer()

    assert group["a"].health.up
    assert group.split() == ("abc", "")


def test_whose_health_nobody_knows_is_never_out(clock: ManualClock) -> None:
    stranger, bad = Stand("a", clock), Stand("b", clock)
    unknown = Target("x", Pipeline([]), stranger)
    bad.fail()

    within, out = Ejection(clock, max_ratio=1.0).split([unknown, bad.target])

    assert (names(within), names(out)) == ("x", "b")


@pytest.mark.parametrize("max_ratio", [-0.1, 1.1])
def test_a_share_is_a_share(clock: ManualClock, max_ratio: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Ejection(clock, max_ratio=max_ratio)


@given(
    size=st.integers(1, 6),
    max_ratio=st.sampled_from([0.0, 0.34, 0.5, 1.0]),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["fail", "answer", "wait", "look"]), st.integers(0, 5)
        ),
        max_size=60,
    ),
)
def test_the_bound_holds_whatever_happens(
    size: int, max_ratio: float, steps: list[tuple[str, int]]
) -> None:
    clock = ManualClock()
    route = stands("abcdef"[:size], clock)
    ejection = Ejection(clock, max_ratio=max_ratio)
    for step, which in steps:
        stand = list(route.values())[which % size]
        match step:
            case "fail":
                stand.fail()
            case "answer":
                stand.answer()
            case "wait":
                clock.advance([0.1, 1.0, 15.0, 30.0, 60.0, 301.0][which])
            case _:
                pass
        within, out = ejection.split(targets(route))

        assert len(out) <= size * max_ratio
        assert sorted(names([*within, *out])) == sorted(route)
        scores = [target.health.score for target in out if target.health]
        assert scores == sorted(scores, reverse=True)
