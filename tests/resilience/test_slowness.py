"""Slow by first token or by rate, never by length."""

import pytest

from resilience.call import Attempt, AttemptKind
from resilience.slowness import SlownessRule

RULE = SlownessRule(first_token_s=8.0, per_token_s=0.5)


def attempt(
    first_token_s: float | None, lasted_s: float | None = None, tokens: int = 0
) -> Attempt:
    one = Attempt("a", 1, AttemptKind.PRIMARY, 100.0, tokens=tokens)
    one.first_token_at_s = None if first_token_s is None else 100.0 + first_token_s
    one.ended_at_s = None if lasted_s is None else 100.0 + lasted_s
    return one


@pytest.mark.parametrize(
    ("one", "slow"),
    [
        (attempt(8.0, 600.0, 5000), False),
        (attempt(8.1), True),
        (attempt(None, 8.1), True),
        (attempt(None, 1.0), False),
        (attempt(None), False),
        (attempt(1.0, 12.0, 11), True),
        (attempt(1.0, 11.0, 21), False),
        (attempt(1.0, 500.0, 1), False),
    ],
)
def test_thresholds(one: Attempt, slow: bool) -> None:
    assert RULE(one) is slow


def test_rates_do_not_matter_without_a_threshold() -> None:
    assert not SlownessRule(first_token_s=8.0)(attempt(1.0, 500.0, 2))


def test_an_answer_in_one_piece_is_never_slow() -> None:
    one = attempt(None, 500.0)
    one.whole = True

    assert not RULE(one)
