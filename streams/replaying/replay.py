"""A replay: candidates score a stretch of the log, and are compared with what was served, with the outcomes known now.

The scoring and the comparison are those of the live shadow and of watch, and all that they sum are integers: over the
same rows, on the same runtime, both come to the same bytes, but for the time that the models took.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from penstock.monitoring.comparison.compare import compare, compare_labelled
from penstock.monitoring.quality.outcomes import well_dated
from penstock.monitoring.quality.slices import Slices
from penstock.schemas.comparison import ComparisonSummary, merge_comparison
from penstock.schemas.paired import PairedBlock
from penstock.schemas.paired_wire import take
from penstock.streams.replaying.log import NothingLogged, Outcomes, Progress, Stretch, newest, outcomes, scored
from penstock.streams.shadowing.scorer import ShadowScorer
from penstock.streams.watching.segments import PAIRED, Part, SegmentCutter

if TYPE_CHECKING:
    from penstock.models.runtime import Runtime
    from penstock.schemas.scored import ScoredBlock
    from penstock.streams.settings import Settings


@dataclass
class Replayed:
    """What a replay found.

    stretch   of the rows, Unix ms: the first and the last event time
    rows      of the log that lie in it
    paired    of those, that a candidate was asked about
    immature  of those, whose labels may still come: they are in no quality
    pairs     the comparison of all of them, and
    labelled  of those with an outcome; None where there are none
    """

    stretch: tuple[int, int]
    rows: int
    paired: int
    immature: int
    pairs: ComparisonSummary | None
    labelled: list[ComparisonSummary]
    """By segment, in order: the gates' fast test needs them apart."""

    @property
    def merged(self) -> ComparisonSummary | None:
        """Everything as one."""
        return _merged([*([self.pairs] if self.pairs else []), *self.labelled])


class Replay:
    """Takes the rows of a stretch in order; pure. Times are Unix ms.

    mature_before  partition → the rows whose labels count by now are those whose event, with the maturity, is not later
    """

    def __init__(
        self,
        settings: Settings,
        candidates: Sequence[tuple[Runtime, float]],
        known: Outcomes,
        mature_before: dict[int, int],
    ) -> None:
        self._settings, self._known, self._mature_before = settings, known, mature_before
        self._scorer = ShadowScorer(candidates, settings.labels.slices, catalogue=settings.catalogue.layout)
        self._labels, self._rollout = settings.labels.config(), settings.rollout.config()
        self._slices: dict[int, Slices] = {}
        self._segment_rows = settings.watch.segment_rows
        self._cutters: dict[int, SegmentCutter[PairedBlock]] = {}
        self._future_ms = int(settings.watch.max_future_s * 1000)
        self.found = Replayed((0, 0), 0, 0, 0, None, [])

    def put(self, block: ScoredBlock, record: int) -> None:
        """Score and compare the rows of one record."""
        found = self.found
        found.rows += block.rows
        first, last = int(block.event_times.min()), int(block.event_times.max())
        start, end = found.stretch if found.rows > block.rows else (first, last)
        found.stretch = (min(start, first), max(end, last))
        paired = self._scorer.score(block, record)
        if paired is None:
            return
        found.paired += paired.rows
        if (cutter := self._cutters.get(paired.partition)) is None:
            cutter = self._cutters[paired.partition] = SegmentCutter(PAIRED, self._segment_rows)
        for part in cutter.put(paired, record):
            self._compare(part)

    def close(self) -> None:
        """The stretch ends: compare what waits for the rest of its segment."""
        for cutter in self._cutters.values():
            if (part := cutter.close_part()) is not None:
                self._compare(part)

    def _compare(self, part: Part[PairedBlock]) -> None:
        found, block = self.found, part.block
        slices = self._slices.setdefault(block.partition, Slices(dict.fromkeys(self._settings.labels.slices, ())))
        pairs = compare(
            block,
            self._labels,
            segment=part.segment,
            part=part.part,
            complete=part.complete,
            watermark=int(block.event_times.max()),
            max_future_ms=self._future_ms,
            slices=slices,
        )
        found.pairs = pairs if found.pairs is None else merge_comparison(found.pairs, pairs)
        times = well_dated(block.event_times, block.timestamps, self._future_ms)
        mature = times <= self._mature_before.get(block.partition, 0)
        found.immature += int(np.count_nonzero(~mature))
        if not mature.any():
            return
        rows = block if mature.all() else take(block, np.flatnonzero(mature))
        known = self._known.labels.join(rows.ids)
        labelled = compare_labelled(
            rows,
            known.values,
            known.times,
            self._labels,
            self._rollout,
            segment=part.segment,
            part=part.part,
            complete=part.complete,
            watermark=int(rows.event_times.max()),
            max_future_ms=self._future_ms,
            slices=slices,
        )
        found.labelled.append(labelled)


async def replay(
    settings: Settings,
    candidates: Sequence[tuple[Runtime, float]],
    stretch: Stretch,
    *,
    last_ms: int | None = None,
    progress: Progress,
) -> Replayed:
    """Compare candidates, each with the share of the keys that it scores, over a stretch of the log as it stands now.

    `last_ms`: so long before the newest event, instead of a stretch. Raises NothingLogged, UnreachableError,
    TopicMissing, FeaturesNotLogged.
    """
    newest_of = await newest(settings)
    if last_ms is not None and newest_of:
        stretch = Stretch(max(newest_of.values()) - last_ms + 1, None)
    known = await outcomes(settings, stretch, progress)
    maturity, disorder = int(settings.labels.maturity_s * 1000), int(settings.watch.max_out_of_order_s * 1000)
    mature_before = {
        partition: known.watermarks.get(partition, time - disorder) - maturity for partition, time in newest_of.items()
    }
    run = Replay(settings, candidates, known, mature_before)
    async for logged in scored(settings, stretch):
        await asyncio.to_thread(run.put, logged.block, logged.record)
        progress(f"{run.found.rows:,} events", logged.done, logged.total)
    await asyncio.to_thread(run.close)
    if not run.found.rows:
        raise NothingLogged(settings.topics.scored.name)
    return run.found


def _merged(parts: Sequence[ComparisonSummary]) -> ComparisonSummary | None:
    merged = None
    for part in parts:
        merged = part if merged is None else merge_comparison(merged, part)
    return merged
