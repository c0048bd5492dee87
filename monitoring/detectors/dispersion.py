"""How much more counts vary than chance would have them."""

from __future__ import annotations

import math
from dataclasses import dataclass

_FEWEST_RUNS = 10


@dataclass
class Dispersion:
    """By how much the counts of runs vary more than those of independent rows.

    Sums over the standardised counts r = (errors - rows·p) / √(rows·p·(1-p)), clipped to ±5, of the last thousand runs
    or so: how many, their squares, products of neighbours. Those of the present excursion wait until it is over.

    >>> steady, moody = Dispersion(), Dispersion()
    >>> for run in range(100):
    ...     steady.see(100, 18 + run % 5, 0.2)
    ...     moody.see(100, 30 if run % 20 < 10 else 10, 0.2)
    >>> steady.learn()
    >>> moody.learn()
    >>> steady.phi, moody.phi > 10
    (1.0, True)
    """

    runs: float = 0.0
    squares: float = 0.0
    products: float = 0.0
    last: float = 0.0
    waiting: tuple[int, float, float] = (0, 0.0, 0.0)

    @property
    def phi(self) -> float:
        """D·f·(1 + √(2f/m)) of m runs, where the dispersion index D is beyond chance, otherwise 1.

        f = (1+ρ)/(1-ρ) with the part of the lag-one correlation ρ that is beyond chance.
        """
        if self.runs < _FEWEST_RUNS:
            return 1.0
        index = self.squares / self.runs
        if index <= 1.0 + math.sqrt(8.0 / self.runs):
            return 1.0
        rho = min(0.98, max(0.0, self.products / self.squares - 1.0 / math.sqrt(self.runs)))
        f = (1.0 + rho) / (1.0 - rho)
        return index * f * (1.0 + math.sqrt(2.0 * f / self.runs))

    def see(self, rows: int, errors: int, rate: float) -> None:
        p = min(0.999, max(0.001, rate))
        r = max(-5.0, min(5.0, (errors - rows * p) / math.sqrt(rows * p * (1.0 - p))))
        runs, squares, products = self.waiting
        self.waiting = (runs + 1, squares + r * r, products + r * self.last)
        self.last = r

    def learn(self) -> None:
        runs, squares, products = self.waiting
        self.runs, self.squares, self.products = self.runs + runs, self.squares + squares, self.products + products
        if self.runs > 1_000:
            fade = 1_000 / self.runs
            self.runs, self.squares, self.products = 1_000.0, self.squares * fade, self.products * fade
        self.waiting = (0, 0.0, 0.0)
