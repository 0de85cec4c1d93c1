"""What an answer cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import Usage
from app.gateway.accounting import Price, PriceList

PRICES = PriceList(
    {
        "a/m": Price(input=2.0, output=8.0),
        "a/c": Price(input=2.0, output=8.0, cache_read=0.5),
        "a/free": Price(input=0.0, output=0.0),
    }
)


def test_input_and_output_have_prices_of_their_own_per_million() -> None:
    assert PRICES.cost_usd("a/m", Usage(1_000_000, 500_000)) == pytest.approx(6.0)


def test_cached_input_costs_less_where_the_provider_says_so() -> None:
    usage = Usage(1_000_000, 0, cached_tokens=400_000)
    assert PRICES.cost_usd("a/c", usage) == pytest.approx(1.4)
    assert PRICES.cost_usd("a/m", usage) == pytest.approx(2.0)


def test_what_is_free_costs_nothing_and_what_is_unknown_is_unknown() -> None:
    assert PRICES.cost_usd("a/free", Usage(5, 5)) == 0
    assert PRICES.cost_usd("a/other", Usage(5, 5)) is None


counts = st.integers(0, 10**9)


@given(usage=st.builds(Usage, counts, counts, counts, counts))
def test_a_cost_is_never_negative_whatever_the_provider_counts(usage: Usage) -> None:
    cost = PRICES.cost_usd("a/c", usage)
    assert cost is not None
    assert 0 <= cost <= (PRICES.cost_usd("a/m", usage) or 0) + 1e-9
