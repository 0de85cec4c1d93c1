"""What an answer cost.

Rule: prices come from the configuration; an unknown price is unknown, never guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain import Usage

_PER = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens. `cache_read` is None where it costs as much as input."""

    input: float
    output: float
    cache_read: float | None = None


class PriceList:
    """Prices by target (`provider/model`)."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = dict(prices)

    def cost_usd(self, target: str, usage: Usage) -> float | None:
        """Return what `usage` cost at `target`; None if its price is not known."""
        price = self._prices.get(target)
        if price is None:
            return None
        cached = min(usage.cached_tokens, usage.input_tokens)
        cache_read = price.input if price.cache_read is None else price.cache_read
        return (
            (usage.input_tokens - cached) * price.input
            + cached * cache_read
            + usage.output_tokens * price.output
        ) / _PER
