"""What tokens cost, and how many an amount can pay. Whole credits; a request's cost is rounded up once."""

from __future__ import annotations

from dataclasses import dataclass

MILLION = 1_000_000
UNBOUNDED = 2**53  # more output tokens than any request can have


@dataclass(frozen=True, slots=True)
class Price:
    """Credits for a million tokens."""

    input: int
    output: int

    def cost(self, prompt_tokens: int, output_tokens: int) -> int:
        """Credits for a request: ceil((in * price_in + out * price_out) / 1e6)."""
        return -(-(prompt_tokens * self.input + output_tokens * self.output) // MILLION)

    def affordable(self, credits: int, prompt_tokens: int) -> int:
        """The most output tokens such that cost(prompt_tokens, tokens) <= credits; -1 when not even the prompt fits."""
        left = credits * MILLION - prompt_tokens * self.input
        if left < 0:
            return -1
        return left // self.output if self.output else UNBOUNDED


class PriceBook:
    """The prices of all models. A model without a price must not run (G7)."""

    def __init__(self, prices: dict[str, Price]) -> None:
        self._prices = prices

    def replace(self, prices: dict[str, Price]) -> None:
        """New prices for new requests; a charge keeps the one it was admitted at."""
        self._prices = prices

    def get(self, model: str) -> Price | None:
        """The price of a canonical model id; None when it has none."""
        return self._prices.get(model)
