"""One source of evidence on one candidate: the cells of all rows and of slices, and what the gates say of them.

In all of them the candidate's loss is the first of the difference. While a promotion bakes the former champion is the
shadow, so its losses are turned round. And seasons turn meanwhile: months in which the new champion was better would
hide the weeks in which it is worse. So a bake is divided into windows, each with tests of its own that begin anew and
with their part of alpha.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator

import msgspec
import numpy as np

from penstock.monitoring.config import LabelsConfig, RolloutConfig, loss_of
from penstock.monitoring.gates.cells import Cells, CellsState, total
from penstock.monitoring.gates.estimate import Outcomes, Source
from penstock.monitoring.gates.fast import FastState, FastTest
from penstock.monitoring.gates.gate import judge
from penstock.monitoring.gates.plan import AlphaShares, shares
from penstock.schemas.comparison import CellSums
from penstock.schemas.gates import Evidence

SLICES_SHOWN = 20
"""In a look: those with a verdict, and those where the candidate does worst."""
_WINDOW = 2
"""Times the fewest buckets of a verdict: the length of a window of the bake."""


class SideState(msgspec.Struct):
    """A snapshot: of which loss and length of bucket; cells by slice, their tunes, the fast test, and where the window
    of the bake began.
    """

    metric: str
    width_ms: int
    cells: dict[str, CellsState]
    tunes: dict[str, float]
    fast: FastState
    window: int | None


class Side:
    """Adds up losses and answers for them. `baking`: the candidate has been promoted."""

    def __init__(self, source: Source, config: RolloutConfig, labels: LabelsConfig, *, baking: bool = False) -> None:
        self._source, self._config, self._baking = source, config, baking
        self._width = max(1, round(labels.bucket_s * 1000))
        self._metric = loss_of(config, labels.task)
        self._window_ms = _WINDOW * config.min_clusters * self._width
        windows = max(1, math.ceil(config.bake_s * 1000 / self._window_ms))
        self._shares: AlphaShares = shares(
            config.alpha / (windows if baking else 1), sources=1 if baking else 2, features=len(config.slices)
        )
        self._window: int | None = None
        self._cells: dict[str, Cells] = {}
        self._tunes: dict[str, float] = {}
        self._fast = self._fast_test()

    @property
    def baking(self) -> bool:
        return self._baking

    def add(self, cells: Iterable[tuple[int, str, CellSums]]) -> None:
        """A block of paired rows, by bucket and slice."""
        counted = [(bucket, name, sums) for bucket, name, sums in cells if self._counts(name)]
        turned = [(bucket, name, _turned(sums) if self._baking else sums) for bucket, name, sums in counted]
        for bucket, name, sums in turned:
            self._of(name).add(bucket, sums)
        if (block := total(sums for _, name, sums in turned if not name)) is not None:
            self._fast.add(block)

    def add_arms(self, champion: dict[tuple[int, str], CellSums], candidate: dict[tuple[int, str], CellSums]) -> None:
        """A block of rows that each served its own of, by bucket and slice."""
        for bucket, name in {**champion, **candidate}:
            if self._counts(name):
                self._of(name).add_arms(bucket, champion.get((bucket, name)), candidate.get((bucket, name)))
        self._fast.add_arms(
            *(total(sums for (_, name), sums in arm.items() if not name) for arm in (champion, candidate))
        )

    def exclude(self, buckets: Iterable[int]) -> None:
        for bucket in buckets:
            for cells in self._cells.values():
                cells.exclude(bucket)

    def forget(self, before: int, before_in_slices: int) -> None:
        for name, cells in self._cells.items():
            cells.forget(before_in_slices if name else before)

    def fast(self, outcomes: Outcomes | None) -> Evidence:
        return self._fast.judge(outcomes)

    def look(self, matured: int, outcomes: Outcomes | None, sensitive: Collection[str]) -> Iterator[Evidence]:
        """Of all rows, of the fast test, and of the slices that matter."""
        yield self._judge("", "main", matured, outcomes)
        yield self._fast.judge(outcomes)
        sliced = [
            self._judge(name, f"slice:{_shown(name, sensitive)}", matured, outcomes)
            for name in sorted(self._cells)
            if name
        ]
        sliced.sort(key=lambda one: (one.verdict != "rollback", -(one.low if one.low is not None else -np.inf)))
        yield from sliced[:SLICES_SHOWN]

    def pass_time(self, matured: int) -> None:
        """Begin the next window of the bake where this one is over; all up to `matured` (Unix ms) was looked at."""
        if self._baking and (self._window is None or matured - self._window >= self._window_ms):
            if self._window is not None:
                self.forget(matured, matured)
                self._tunes, self._fast = {}, self._fast_test()
            self._window = matured

    def _fast_test(self) -> FastTest:
        return FastTest(self._source, self._metric, margin=self._config.margin, alpha=self._shares.fast)

    def _counts(self, name: str) -> bool:
        return not name or name.partition("=")[0] in self._config.slices

    def _judge(self, name: str, test: str, matured: int, outcomes: Outcomes | None) -> Evidence:
        config = self._config
        evidence, tune = judge(
            self._of(name),
            test=test,
            source=self._source,
            metric=self._metric,
            margin=config.margin,
            alpha=self._shares.slice if name else self._shares.main,
            matured_before=matured,
            min_rows=config.min_rows,
            min_clusters=config.min_clusters,
            tune=self._tunes.get(name),
            harm=config.margin if self._baking else 0.0,
            outcomes=outcomes,
            max_label_gap=config.max_label_gap,
        )
        if tune is not None:
            self._tunes[name] = tune
        return evidence

    def _of(self, name: str) -> Cells:
        return self._cells.setdefault(name, Cells(self._width, paired=self._source == "paired"))

    def state(self) -> SideState:
        cells = {name: cells.state() for name, cells in self._cells.items()}
        return SideState(self._metric, self._width, cells, self._tunes, self._fast.state(), self._window)

    def restore(self, state: SideState) -> None:
        """Go on from there; begin anew where the settings name another loss, or buckets of another length, by now.

        Raises ValueError.
        """
        if (state.metric, state.width_ms) != (self._metric, self._width):
            return
        self._cells = {name: Cells.restored(cells) for name, cells in state.cells.items()}
        self._tunes, self._window = state.tunes, state.window
        self._fast.restore(state.fast)


def _turned(sums: CellSums) -> CellSums:
    """The champion's loss minus the candidate's, as the candidate's minus the champion's."""
    return CellSums(sums.rows, -sums.losses)


def _shown(name: str, sensitive: Collection[str]) -> str:
    """A slice's name without what nobody may see.

    >>> _shown("income=high", {"income"}), _shown("origin=JFK", {"income"})
    ('income=(not shown)', 'origin=JFK')
    """
    feature = name.partition("=")[0]
    return f"{feature}=(not shown)" if feature in sensitive else name
