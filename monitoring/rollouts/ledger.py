"""The ledger of a rollout: cells of losses as they come, and what the gates say of them.

It keeps what the control record names and nothing else: paired losses of each shadow against the champion, so that a
rollout begins with what its candidate's shadow has shown; and, during a rollout, the losses of what champion and canary
served, each its own rows. In both the candidate's loss is the first of the difference; while a promotion bakes the
former champion is the shadow, and its losses are turned round.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import msgspec
import numpy as np

from penstock.monitoring.config import LabelsConfig, RolloutConfig, loss_of
from penstock.monitoring.gates.cells import Cells, CellsState, total
from penstock.monitoring.gates.estimate import Outcomes, Source
from penstock.monitoring.gates.fast import FastState, FastTest
from penstock.monitoring.gates.gate import judge
from penstock.monitoring.gates.plan import AlphaShares, shares
from penstock.schemas.comparison import CellSums, ComparisonSummary, Pair
from penstock.schemas.control import Control, Rollout
from penstock.schemas.gates import Evidence
from penstock.schemas.quality import QualitySummary

SLICES_SHOWN = 20
"""In a look: those with a verdict, and those where the candidate does worst."""
SLICE_BUCKETS = 64
"""Time buckets that are remembered of a slice: there are many of them."""

Served = tuple[int, int, int, int]
"""Rows of the champion, of those with an outcome; the same of the candidate."""


class SideState(msgspec.Struct):
    """One side's snapshot: cells by slice, their tunes, the fast test, and since when the baking is on."""

    cells: dict[str, CellsState]
    tunes: dict[str, float]
    fast: FastState


class LedgerState(msgspec.Struct):
    """A snapshot; `baking` are the pairs whose candidate has been promoted."""

    rollout: str
    pairs: dict[Pair, tuple[bool, SideState]]
    canary: SideState | None
    served: Served


class _Side:
    """One source of evidence on one candidate: all rows and slices, and the fast test."""

    def __init__(self, source: Source, config: RolloutConfig, labels: LabelsConfig, *, baking: bool = False) -> None:
        self._source, self._config, self._baking = source, config, baking
        self._width = max(1, round(labels.bucket_s * 1000))
        self._metric = loss_of(config, labels.task)
        self._shares: AlphaShares = shares(config.alpha, sources=1 if baking else 2, features=len(config.slices))
        self._cells: dict[str, Cells] = {}
        self._tunes: dict[str, float] = {}
        self._fast = FastTest(source, self._metric, margin=config.margin, alpha=self._shares.fast)

    @property
    def baking(self) -> bool:
        return self._baking

    def add(self, cells: Iterable[tuple[int, str, CellSums]]) -> None:
        """A block of paired rows, by bucket and slice."""
        turned = [(bucket, name, _turned(sums) if self._baking else sums) for bucket, name, sums in cells]
        for bucket, name, sums in turned:
            self._of(name).add(bucket, sums)
        if (block := total(sums for _, name, sums in turned if not name)) is not None:
            self._fast.add(block)

    def add_arms(self, champion: dict[tuple[int, str], CellSums], candidate: dict[tuple[int, str], CellSums]) -> None:
        """A block of rows that each served its own of, by bucket and slice."""
        for bucket, name in {**champion, **candidate}:
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
        return SideState({name: cells.state() for name, cells in self._cells.items()}, self._tunes, self._fast.state())

    def restore(self, state: SideState) -> None:
        """Raises ValueError."""
        self._cells = {name: Cells.restored(cells) for name, cells in state.cells.items()}
        self._tunes = state.tunes
        self._fast.restore(state.fast)


class Ledger:
    """All evidence on the candidates that the control record names."""

    def __init__(
        self, config: RolloutConfig, labels: LabelsConfig, *, sensitive: Collection[str] = frozenset()
    ) -> None:
        self._config, self._labels, self._sensitive = config, labels, sensitive
        self._width = max(1, round(labels.bucket_s * 1000))
        self._rollout = ""
        self._pairs: dict[Pair, _Side] = {}
        self._canary: _Side | None = None
        self._served: Served = (0, 0, 0, 0)

    def name(self, control: Control) -> None:
        """Keep what this control record names; begin anew with what it names for the first time."""
        rollout, champion = control.rollout, str(control.champion)
        baking = rollout is not None and rollout.baking
        wanted = {(str(shadow.model), champion): False for shadow in control.shadows}
        if rollout is not None:
            models = str(rollout.candidate), str(rollout.champion)
            wanted[(models[1], models[0]) if baking else models] = baking
        self._pairs = {
            pair: known
            if (known := self._pairs.get(pair)) is not None and known.baking == turned
            else _Side("paired", self._config, self._labels, baking=turned)
            for pair, turned in wanted.items()
        }
        if rollout is None or baking:
            self._rollout, self._canary, self._served = "", None, (0, 0, 0, 0)
        elif rollout.id != self._rollout:
            self._rollout, self._served = rollout.id, (0, 0, 0, 0)
            self._canary = _Side("canary", self._config, self._labels)

    def add_paired(self, summary: ComparisonSummary) -> None:
        """A block of labelled rows that both scored."""
        blocks: dict[Pair, list[tuple[int, str, CellSums]]] = {}
        for (bucket, candidate, served, name), sums in summary.cells.items():
            if (candidate, served) in self._pairs:
                blocks.setdefault((candidate, served), []).append((bucket, name, sums))
        for pair, cells in blocks.items():
            self._pairs[pair].add(cells)

    def add_served(self, summary: QualitySummary, rollout: Rollout) -> None:
        """A block of labelled rows, some of them answered by the candidate."""
        if self._canary is None:
            return
        arms: tuple[dict[tuple[int, str], CellSums], dict[tuple[int, str], CellSums]] = ({}, {})
        models = {str(rollout.champion): 0, str(rollout.candidate): 1}
        for (bucket, _, model, name), sums in summary.cells.items():
            if (arm := models.get(model)) is not None:
                known = arms[arm].get((bucket, name))
                arms[arm][bucket, name] = sums if known is None else _both(known, sums)
        self._canary.add_arms(*arms)
        rows = [sum(n for (_, each, _), n in summary.served.items() if each == model) for model in models]
        if all(rows):  # the same hours for both
            known_rows = [sum(int(sums.rows.sum()) for (_, name), sums in arm.items() if not name) for arm in arms]
            more = (rows[0], known_rows[0], rows[1], known_rows[1])
            self._served = tuple(a + b for a, b in zip(self._served, more, strict=True))  # type: ignore[assignment]

    @property
    def outcomes(self) -> Outcomes:
        """How many of the rows that champion and candidate served have an outcome."""
        return Outcomes(*self._served)

    def exclude(self, buckets: Iterable[int]) -> None:
        """Buckets in which the candidate's share changed say nothing of rows that each served its own of."""
        if self._canary is not None:
            self._canary.exclude(buckets)

    def forget(self, matured: int, buckets: int) -> None:
        """All but the last `buckets` before `matured`."""
        for side in self._sides():
            side.forget(matured - buckets * self._width, matured - min(buckets, SLICE_BUCKETS) * self._width)

    def look(self, rollout: Rollout, matured: int) -> list[Evidence]:
        """All evidence on a rollout's candidate, of the buckets that ended by `matured`, Unix ms."""
        return [
            evidence
            for side, outcomes in self._of(rollout)
            for evidence in side.look(matured, outcomes, self._sensitive)
        ]

    def look_fast(self, rollout: Rollout) -> list[Evidence]:
        """What the fast tests say."""
        return [side.fast(outcomes) for side, outcomes in self._of(rollout)]

    def _of(self, rollout: Rollout) -> Iterator[tuple[_Side, Outcomes | None]]:
        models = str(rollout.candidate), str(rollout.champion)
        if (pair := self._pairs.get(models[::-1] if rollout.baking else models)) is not None:
            yield pair, None
        if self._canary is not None and (rollout.share > 0 or self._served[2]):
            yield self._canary, self.outcomes

    def _sides(self) -> Iterator[_Side]:
        yield from self._pairs.values()
        if self._canary is not None:
            yield self._canary

    def state(self) -> LedgerState:
        return LedgerState(
            self._rollout,
            {pair: (side.baking, side.state()) for pair, side in self._pairs.items()},
            None if self._canary is None else self._canary.state(),
            self._served,
        )

    @classmethod
    def restored(
        cls,
        state: LedgerState,
        config: RolloutConfig,
        labels: LabelsConfig,
        *,
        sensitive: Collection[str] = frozenset(),
    ) -> Ledger:
        """What `state` was taken of, under the same settings. Raises ValueError."""
        ledger = cls(config, labels, sensitive=sensitive)
        ledger._rollout, ledger._served = state.rollout, state.served
        for pair, (baking, side) in state.pairs.items():
            ledger._pairs[pair] = _Side("paired", config, labels, baking=baking)
            ledger._pairs[pair].restore(side)
        if state.canary is not None:
            ledger._canary = _Side("canary", config, labels)
            ledger._canary.restore(state.canary)
        return ledger


def _turned(sums: CellSums) -> CellSums:
    """The champion's loss minus the candidate's, as the candidate's minus the champion's."""
    return CellSums(sums.rows, -sums.losses)


def _both(one: CellSums, other: CellSums) -> CellSums:
    return CellSums(one.rows + other.rows, one.losses + other.losses)


def _shown(name: str, sensitive: Collection[str]) -> str:
    """A slice's name without what nobody may see.

    >>> _shown("income=high", {"income"}), _shown("origin=JFK", {"income"})
    ('income=(not shown)', 'origin=JFK')
    """
    feature = name.partition("=")[0]
    return f"{feature}=(not shown)" if feature in sensitive else name
