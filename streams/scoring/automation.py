"""How far the model acts by itself: which predictions are published, and which go to people first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from penstock.schemas.columns import Floats

Level = Literal["shadow_people", "assist", "partial", "full"]


@dataclass(frozen=True)
class Automation:
    """A degree of automation; what each means is said in `AutomationSettings`.

    abstain  scores between these two, both included, go to people where the level is partial

    >>> Automation("partial", (0.4, 0.6)).for_people(np.array([0.39, 0.4, 0.6, 0.7], np.float32))
    array([False,  True,  True, False])
    """

    level: Level = "full"
    abstain: tuple[float, float] | None = None

    @property
    def publishes(self) -> bool:
        """Whether anybody hears of predictions."""
        return self.level != "shadow_people"

    @property
    def reviews(self) -> bool:
        """Whether some predictions go to the review topic."""
        return self.level in ("assist", "partial")

    @property
    def reason(self) -> str:
        """Why they go there."""
        return "assist" if self.abstain is None else "abstain"

    def for_people(self, score: Floats) -> NDArray[np.bool_]:
        """[rows] whether a person decides."""
        if self.abstain is None:
            return np.full(len(score), self.reviews)
        low, high = self.abstain
        return (score >= low) & (score <= high)


FULL = Automation()
