"""Scores rows of the scored log with candidates, on the features that the champion had. The live shadow and the replay
are this one piece of code behind two doors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.models.row_failures import score_apart
from penstock.models.runtime import Runtime, Scores
from penstock.schemas.columns import Category, Columns, Floats, Layout
from penstock.schemas.keys import hash_keys, routing_keys, within
from penstock.schemas.paired import CandidateScores, PairedBlock
from penstock.schemas.scored import ScoredBlock

SALT = "shadow"
"""Draws the keys of a sample; those of a smaller sample are in every larger one."""


@dataclass(slots=True)
class Asked:
    """What became of the rows that one candidate was asked about in a block, or should have been.

    rows        that it was asked about
    non_finite  of those, for which it gave NaN or an infinity, or failed, and
    failed      on which it failed
    failure     the first of these failures
    took_us     microseconds of its calls
    lacking     features that the block does not have: then it was asked about none of its sample
    unlogged    rows of the sample that it was not asked about for that reason
    """

    model: str
    rows: int = 0
    non_finite: int = 0
    failed: int = 0
    failure: Exception | None = None
    took_us: int = 0
    lacking: tuple[str, ...] = ()
    unlogged: int = 0


class ShadowScorer:
    """Asks candidates about the rows of their samples, each candidate with the share of the keys that it scores.

    A row on which a candidate fails, or for which it gives no number, is NaN in its score and fails nobody else.

    slices     the features that go along into the paired block, no others
    catalogue  the layout of the pipeline's features: what the log has of the same name in another type counts as absent
    clock_ns   for what calls take
    """

    def __init__(
        self,
        candidates: Sequence[tuple[Runtime, float]],
        slices: Sequence[str],
        *,
        catalogue: Layout | None = None,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._candidates, self._slices, self._catalogue = tuple(candidates), tuple(slices), catalogue
        self._clock_ns = clock_ns
        self._lacking: dict[Layout, list[tuple[str, ...]]] = {}
        self._narrowings: dict[Layout, Narrowing] = {}
        self._outputs: dict[int, int] = {}
        self.asked: list[Asked] = []
        """What became of the last block, candidate by candidate."""

    def score(self, block: ScoredBlock, record: int) -> PairedBlock | None:
        """What the candidates say; None where no row is in a sample. `record` is the block's offset in the log."""
        keys = routing_keys(block.keys, block.ids, block.rows)
        samples = self._samples(block, keys)
        if not (block.rows and any(sampled.all() for sampled in samples)):
            rows = np.flatnonzero(np.logical_or.reduce(samples)) if samples else np.empty(0, np.intp)
            if not len(rows):
                return None
            block, keys, samples = block.take(rows), keys[rows], [sampled[rows] for sampled in samples]
        return PairedBlock(
            partition=block.partition,
            record=record,
            offsets=block.offsets,
            ids=hash_keys(map(str.encode, block.ids), block.rows),
            keys=keys,
            event_times=block.event_times,
            timestamps=block.timestamps,
            slices=self._narrowed(block.columns),
            variants=block.variants,
            models=block.models,
            score=block.score,
            scores=block.scores,
            took_us=block.took_us,
            runtime=block.runtime,
            candidates=tuple(
                self._ask(number, block.columns, sampled, asked)
                for number, (sampled, asked) in enumerate(zip(samples, self.asked, strict=True))
            ),
        )

    def _narrowed(self, columns: Columns) -> Columns:
        if (narrowing := self._narrowings.get(columns.layout)) is None:
            narrowing = self._narrowings[columns.layout] = Narrowing.of(columns.layout, self._slices)
        return narrowing.narrowed(columns)

    def _samples(self, block: ScoredBlock, keys: NDArray[np.uint64]) -> list[NDArray[np.bool_]]:
        """[rows] bool for each candidate: whether it is asked."""
        layout = block.columns.layout
        if layout not in self._lacking:
            self._lacking[layout] = [lacking(one.features, layout, self._catalogue) for one, _ in self._candidates]
        self.asked, samples = [], []
        for (runtime, share), absent in zip(self._candidates, self._lacking[layout], strict=True):
            sampled = within(keys, SALT, share)
            wanted = int(np.count_nonzero(sampled))
            asked = Asked(str(runtime.model), rows=wanted)
            if absent:
                asked = Asked(str(runtime.model), lacking=absent, unlogged=wanted)
                sampled = np.zeros(block.rows, np.bool_)
            self.asked.append(asked)
            samples.append(sampled)
        return samples

    def _ask(self, number: int, columns: Columns, sampled: NDArray[np.bool_], asked: Asked) -> CandidateScores:
        runtime, rows = self._candidates[number][0], np.flatnonzero(sampled)
        started = self._clock_ns()
        if len(rows):
            scores, failures = _scores(runtime, columns if len(rows) == columns.rows else columns.take(rows))
            asked.took_us = (self._clock_ns() - started) // 1000
            asked.failed, asked.failure = len(failures), next(iter(failures.values()), None)
            asked.non_finite = int(np.count_nonzero(~scores.finite))
        else:
            scores = _nothing(0)
        outputs = self._width(number, columns)
        several = np.full((len(rows), outputs), np.nan, np.float32) if scores.scores is None else scores.scores
        return CandidateScores(
            model=str(runtime.model),
            sampled=sampled,
            score=_spread(scores.score, rows, columns.rows),
            scores=_spread(several, rows, columns.rows) if outputs else None,
            took_us=asked.took_us,
            runtime=runtime.description,
        )

    def _width(self, number: int, columns: Columns) -> int:
        """How many outputs the candidate has beside its score: the same where it was asked nothing, or failed."""
        if number not in self._outputs:
            several = self._candidates[number][0].score(columns.take(slice(0, 0))).scores
            self._outputs[number] = 0 if several is None else several.shape[1]
        return self._outputs[number]


def _scores(runtime: Runtime, columns: Columns) -> tuple[Scores, dict[int, Exception]]:
    """As `score_apart`, also where the model fails on every row."""
    try:
        return score_apart(runtime, columns)
    except Exception as error:
        return _nothing(columns.rows), dict.fromkeys(range(columns.rows), error)


def _nothing(rows: int) -> Scores:
    return Scores(np.full(rows, np.nan, np.float32), None, np.zeros(rows, np.bool_))


def _spread(values: Floats, rows: NDArray[np.intp], total: int) -> Floats:
    """The values at `rows` of `total` rows, NaN elsewhere."""
    if len(rows) == total:
        return values
    spread = np.full((total, *values.shape[1:]), np.nan, np.float32)
    spread[rows] = values
    return spread


class Narrowing(NamedTuple):
    """Where the slices lie in a layout, as far as it has any, and the layout of them alone."""

    layout: Layout
    floats: list[int]
    integers: list[int]
    categories: list[int]
    vectors: list[int]

    @classmethod
    def of(cls, layout: Layout, names: Collection[str]) -> Narrowing:
        def places(group: Sequence[str]) -> list[int]:
            return [place for place, name in enumerate(group) if name in names]

        floats, integers, categories = places(layout.floats), places(layout.integers), places(layout.categories)
        vectors = places([name for name, _ in layout.vectors])
        kept = Layout(
            tuple(layout.floats[place] for place in floats),
            tuple(layout.integers[place] for place in integers),
            tuple(layout.categories[place] for place in categories),
            tuple(layout.vectors[place] for place in vectors),
        )
        return cls(kept, floats, integers, categories, vectors)

    def narrowed(self, columns: Columns) -> Columns:
        """Only the columns of the slices; matrices are copied."""
        return Columns(
            self.layout,
            columns.floats[:, self.floats],
            columns.integers[:, self.integers],
            tuple(Category(*columns.categories[place]) for place in self.categories),
            tuple(columns.vectors[place] for place in self.vectors),
        )


def lacking(features: Collection[str], logged: Layout, catalogue: Layout | None = None) -> tuple[str, ...]:
    """Those of `features` that a block with the layout `logged` does not have, or not with the catalogue's type.

    >>> lacking(["wind", "seats"], Layout(floats=("wind",)), Layout(floats=("wind",), integers=("seats",)))
    ('seats',)
    >>> lacking(["wind"], Layout(integers=("wind",)), Layout(floats=("wind",)))
    ('wind',)
    """
    there, expected = _kinds(logged), _kinds(logged if catalogue is None else catalogue)
    return tuple(name for name in features if name not in there or there[name] != expected.get(name, there[name]))


def _kinds(layout: Layout) -> dict[str, tuple[str, int]]:
    return {
        **dict.fromkeys(layout.floats, ("float", 1)),
        **dict.fromkeys(layout.integers, ("integer", 1)),
        **dict.fromkeys(layout.categories, ("category", 1)),
        **{name: ("vector", width) for name, width in layout.vectors},
    }
