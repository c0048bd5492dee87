"""The ledger of a rollout: cells of losses as they come, and what the gates say of them.

It keeps what the control record names and nothing else: paired losses of each shadow against the champion, so that a
rollout begins with what its candidate's shadow has shown; and, during a rollout, the losses of what champion and canary
served, each its own rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import msgspec

from penstock.monitoring.config import LabelsConfig, RolloutConfig
from penstock.monitoring.gates.estimate import Outcomes
from penstock.monitoring.rollouts.side import Side, SideState
from penstock.schemas.comparison import CellSums, ComparisonSummary, Pair
from penstock.schemas.control import Control, Rollout
from penstock.schemas.gates import Evidence
from penstock.schemas.quality import QualitySummary

SLICE_BUCKETS = 64
"""Time buckets that are remembered of a slice: there are many of them."""

Served = tuple[int, int, int, int]
"""Rows of the champion, of those with an outcome; the same of the candidate."""


class LedgerState(msgspec.Struct):
    """A snapshot; `baking` are the pairs whose candidate has been promoted."""

    rollout: str
    pairs: dict[Pair, tuple[bool, SideState]]
    canary: SideState | None
    served: Served


class Ledger:
    """All evidence on the candidates that the control record names."""

    def __init__(
        self, config: RolloutConfig, labels: LabelsConfig, *, sensitive: Collection[str] = frozenset()
    ) -> None:
        self._config, self._labels, self._sensitive = config, labels, sensitive
        self._width = max(1, round(labels.bucket_s * 1000))
        self._rollout = ""
        self._pairs: dict[Pair, Side] = {}
        self._canary: Side | None = None
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
            else Side("paired", self._config, self._labels, baking=turned)
            for pair, turned in wanted.items()
        }
        if rollout is None or baking:
            self._rollout, self._canary, self._served = "", None, (0, 0, 0, 0)
        elif rollout.id != self._rollout:
            self._rollout, self._served = rollout.id, (0, 0, 0, 0)
            self._canary = Side("canary", self._config, self._labels)

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
        found: list[Evidence] = []
        for side, outcomes in self._of(rollout):
            found += side.look(matured, outcomes, self._sensitive)
            side.pass_time(matured)
        return found

    def look_fast(self, rollout: Rollout) -> list[Evidence]:
        """What the fast tests say."""
        return [side.fast(outcomes) for side, outcomes in self._of(rollout)]

    def _of(self, rollout: Rollout) -> Iterator[tuple[Side, Outcomes | None]]:
        models = str(rollout.candidate), str(rollout.champion)
        if (pair := self._pairs.get(models[::-1] if rollout.baking else models)) is not None:
            yield pair, None
        if self._canary is not None and (rollout.share > 0 or self._served[2]):
            yield self._canary, self.outcomes

    def _sides(self) -> Iterator[Side]:
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
            ledger._pairs[pair] = Side("paired", config, labels, baking=baking)
            ledger._pairs[pair].restore(side)
        if state.canary is not None:
            ledger._canary = Side("canary", config, labels)
            ledger._canary.restore(state.canary)
        return ledger


def _both(one: CellSums, other: CellSums) -> CellSums:
    return CellSums(one.rows + other.rows, one.losses + other.losses)
