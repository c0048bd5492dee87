"""The fast test: a candidate that does great harm goes after some blocks, without waiting for days to pass.

Its clusters are blocks (segments of the stream), of which there are many in a day; so days that differ can mislead it,
and it acts only where the harm is beyond twice the margin. It promotes nobody.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from penstock.monitoring.gates.cells import Stratum, stratum
from penstock.monitoring.gates.estimate import (
    FEWEST_GROUPS,
    Estimate,
    Outcomes,
    Question,
    Source,
    first_tune,
    key_error,
    seen_groups,
)
from penstock.schemas.comparison import CellSums
from penstock.schemas.gates import KEY_GROUPS, Evidence

HARM = 2.0
"""Times the margin."""
FEWEST_BLOCKS = 10
FEWEST_ROWS = 200
"""Of the candidate: fewer are too few for their mean to be nearly normal."""


class FastState(msgspec.Struct):
    """Sums over the blocks so far, of weights w and differences d. `groups`: [arms + 2, 64] little-endian floats."""

    blocks: int = 0
    rows: float = 0.0
    w: float = 0.0
    wd: float = 0.0
    w2: float = 0.0
    w2d: float = 0.0
    w2d2: float = 0.0
    scatter: float = 0.0
    scattered: float = 0.0
    tune: float | None = None
    groups: bytes = b""


class FastTest:
    """One-sided test with blocks as clusters, in constant memory and time per block.

    >>> from penstock.schemas.comparison import CellSums
    >>> fast = FastTest("paired", "error", margin=0.01, alpha=0.0125)
    >>> fast.judge().note
    '0 blocks of 10'
    """

    def __init__(self, source: Source, metric: str, *, margin: float, alpha: float) -> None:
        self._question = Question("fast", source, metric, margin, alpha)
        self._sums = FastState()
        self._rows = np.zeros((1 if source == "paired" else 2, KEY_GROUPS))
        self._weights_and_sums = np.zeros((2, KEY_GROUPS))

    def add(self, sums: CellSums) -> None:
        """One more block of paired rows."""
        self._add(stratum(sums.rows[None], sums.losses[None]))

    def add_arms(self, champion: CellSums | None, candidate: CellSums | None) -> None:
        """One more block; it counts if it has rows of both arms."""
        if champion is not None and candidate is not None:
            rows, losses = (champion.rows, candidate.rows), (champion.losses, candidate.losses)
            self._add(stratum(np.stack(rows), np.stack(losses)))

    def _add(self, block: Stratum | None) -> None:
        if block is None:
            return
        sums, w, d = self._sums, block.weight, block.difference
        sums.blocks += 1
        sums.rows += block.rows
        sums.w += w
        sums.wd += w * d
        sums.w2 += w * w
        sums.w2d += w * w * d
        sums.w2d2 += w * w * d * d
        sums.scatter += block.scatter
        sums.scattered += block.scattered
        self._rows += block.group_rows
        self._weights_and_sums[0] += block.group_weights
        self._weights_and_sums[1] += block.group_sums

    def judge(self, outcomes: Outcomes | None = None) -> Evidence:
        """Roll back where the lower bound is above twice the margin; else hold."""
        sums = self._sums
        if sums.blocks < FEWEST_BLOCKS or sums.rows < FEWEST_ROWS:
            seen = self._estimate() if sums.blocks else None
            few_rows = f"{sums.rows:,.0f} rows of {FEWEST_ROWS}"
            few = f"{sums.blocks} blocks of {FEWEST_BLOCKS}" if sums.blocks < FEWEST_BLOCKS else few_rows
            return self._question.answer("hold", seen, note=few)
        seen = self._estimate()
        if sums.tune is None:
            sums.tune = first_tune(seen)
        if self._question.source == "canary" and seen.groups < FEWEST_GROUPS:
            note = f"the candidate's keys lie in {seen.groups} groups of {FEWEST_GROUPS}"
            return self._question.answer("hold", seen, note=note)
        limits = self._question.bounds(seen, sums.tune, outcomes)
        harmful = limits.low > HARM * self._question.margin
        return self._question.answer("rollback" if harmful else "hold", seen, limits)

    def _estimate(self) -> Estimate:
        """As `estimate.estimate` gives, but that leverages, which are small here, are taken alike."""
        sums = self._sums
        difference = sums.wd / sums.w
        squares = max(sums.w2d2 - 2 * difference * sums.w2d + difference**2 * sums.w2, 0.0)
        clusters = sums.w**2 / sums.w2
        kept = max(1 - 1 / clusters, 1e-6)
        weights, group_sums = self._weights_and_sums
        return Estimate(
            difference,
            int(sums.rows),
            sums.w,
            sums.blocks,
            seen_groups(self._rows),
            math.sqrt(squares / kept) / sums.w,
            clusters - 1,
            *key_error(weights, group_sums, difference, self._question.source),
            0.0,
            math.sqrt(sums.scatter / sums.scattered),
        )

    def state(self) -> FastState:
        """A snapshot."""
        groups = np.concatenate([self._rows, self._weights_and_sums]).astype("<f8")
        return msgspec.structs.replace(self._sums, groups=groups.tobytes())

    def restore(self, state: FastState) -> None:
        """Raises ValueError where the groups are of another kind of test."""
        groups = np.frombuffer(state.groups, "<f8").reshape(-1, KEY_GROUPS)
        if len(groups) != len(self._rows) + 2:
            raise ValueError(f"a fast test over {len(groups)} rows of groups; expected {len(self._rows) + 2}")
        self._sums = msgspec.structs.replace(state)
        self._rows, self._weights_and_sums = groups[:-2].copy(), groups[-2:].copy()
