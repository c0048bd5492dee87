"""What watch knows of one partition: four readings of two logs, and the labels.

Pure but for the clock that it is given: records go in, summaries and state come out. The role reads and writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from penstock.monitoring.comparison.compare import compare, compare_labelled
from penstock.monitoring.counting.binning import Binning
from penstock.monitoring.counting.count import count
from penstock.monitoring.quality.measure import measure
from penstock.monitoring.quality.slices import Slices
from penstock.schemas import paired_wire
from penstock.schemas.comparison import ComparisonSummary
from penstock.schemas.keys import hash_keys
from penstock.schemas.paired import PairedBlock
from penstock.schemas.quality import QualitySummary
from penstock.schemas.scored import ScoredBlock
from penstock.schemas.summaries import NO_WATERMARK, Summary
from penstock.streams.watching.config import WatchConfig
from penstock.streams.watching.labels import PartitionLabels
from penstock.streams.watching.reading import Position, Reading, SecondReading
from penstock.streams.watching.segments import BEGINNING, PAIRED, SCORED, Mark, Part, Rows

STATE = "reading"
"""Under this name the state stands beside the runs of labels."""


class ReadingState(msgspec.Struct, frozen=True):
    """How far a partition was read, at a checkpoint.

    mark, watermark   of the first reading of the scored log
    labels_watermark  all labels up to then have been sent; None where nobody says so
    again             record of the scored log to read next for the second time, and
    again_mark        how far its rows were judged, and
    again_watermark   of those
    slices            feature → values that are slices of their own
    paired            the first reading of the shadow scores
    paired_again      the second one
    paired_slices     as `slices`, of the rows that are compared
    """

    mark: Mark = BEGINNING
    watermark: int = NO_WATERMARK
    labels_watermark: int | None = None
    again: int = 0
    again_mark: Mark = BEGINNING
    again_watermark: int = NO_WATERMARK
    slices: dict[str, list[str]] = {}
    paired: Position = Position()
    paired_again: Position = Position()
    paired_slices: dict[str, list[str]] = {}
    version: int = 1


class PartitionWatch:
    """One partition. `binning` gives the bins of the present reference, `clock` is monotonic, ms.

    labels        of its events
    scored        the first reading of the scored log: what came
    scored_again  the second one, of mature rows: what became of it
    paired        the first reading of the shadow scores: what candidates say beside the champion
    paired_again  the second one, of mature rows: who was right
    unjudged      paired rows that came when labels of their time were forgotten already; they are in no comparison at
                  maturity, for to take those whose label is still there would favour late labels
    """

    def __init__(
        self,
        partition: int,
        config: WatchConfig,
        *,
        binning: Callable[[ScoredBlock], Binning],
        clock: Callable[[], int],
        state: Mapping[str, bytes] = {},
    ) -> None:
        self.partition = partition
        self._config, self._binning = config, binning
        read = msgspec.msgpack.decode(state[STATE], type=ReadingState) if STATE in state else ReadingState()
        self.labels = PartitionLabels(partition, config, state=state, watermark=read.labels_watermark)
        self._slices = self._known_slices(read.slices)
        self._paired_slices = self._known_slices(read.paired_slices)
        self.scored = Reading(SCORED, self._count, config, clock=clock, position=Position(0, read.mark, read.watermark))
        self.scored_again = SecondReading(
            SCORED, self._measure, config, clock=clock,
            position=Position(read.again, read.again_mark, read.again_watermark),
        )  # fmt: skip
        self.paired = Reading(PAIRED, self._compare, config, clock=clock, position=read.paired)
        self.paired_again = SecondReading(
            PAIRED, self._compare_labelled, config, clock=clock, position=read.paired_again
        )
        self.unjudged = 0
        self._written = state.get(STATE)

    def _known_slices(self, values: Mapping[str, Iterable[str]]) -> Slices:
        return Slices({feature: values.get(feature, ()) for feature in self._config.labels.slices})

    @property
    def first_readings(self) -> tuple[Reading[Any, Any], Reading[Any, Any]]:
        """Of the scored log, and of the shadow scores."""
        return self.scored, self.paired

    @property
    def second_readings(self) -> tuple[SecondReading[Any, Any], SecondReading[Any, Any]]:
        """The same."""
        return self.scored_again, self.paired_again

    @property
    def readings(self) -> tuple[Reading[Any, Any], ...]:
        return *self.first_readings, *self.second_readings

    def _count(self, part: Part[ScoredBlock], _: int) -> Summary:
        return count(
            part.block,
            self._binning(part.block),
            segment=part.segment,
            part=part.part,
            complete=part.complete,
            watermark_before=self.scored.watermark,
            max_future_ms=self._config.max_future_ms,
            max_out_of_order_ms=self._config.max_out_of_order_ms,
        )

    def _measure(self, part: Part[ScoredBlock], watermark: int) -> QualitySummary:
        block = part.block
        known = self.labels.join(hash_keys(map(str.encode, block.ids), block.rows))
        return measure(
            block,
            known.values,
            known.times,
            self._config.labels,
            segment=part.segment,
            part=part.part,
            complete=part.complete,
            watermark=watermark,
            max_future_ms=self._config.max_future_ms,
            slices=self._slices,
            rollout=self._config.rollout,
        )

    def _compare(self, part: Part[PairedBlock], watermark: int) -> ComparisonSummary:
        return compare(
            part.block,
            self._config.labels,
            segment=part.segment,
            part=part.part,
            complete=part.complete,
            watermark=watermark,
            max_future_ms=self._config.max_future_ms,
            slices=self._paired_slices,
        )

    def _compare_labelled(self, part: Part[PairedBlock], watermark: int) -> ComparisonSummary | None:
        block = part.block
        [judged] = np.nonzero(self.paired.dating.times(block) >= self.labels.horizon)
        if len(judged) < block.rows:
            self.unjudged += block.rows - len(judged)
            block = paired_wire.take(block, judged)
        if not block.rows:
            return None
        known = self.labels.join(block.ids)
        return compare_labelled(
            block,
            known.values,
            known.times,
            self._config.labels,
            self._config.rollout,
            segment=part.segment,
            part=part.part,
            complete=part.complete,
            watermark=watermark,
            max_future_ms=self._config.max_future_ms,
            slices=self._paired_slices,
        )

    def is_mature(self, block: Rows) -> bool:
        """Whether labels for these rows count from now on: the watermark has passed their maturity.

        Where somebody sends watermarks of labels, those decide; otherwise the events' own do.
        """
        watermark = self.scored.newest if self.labels.watermark is None else self.labels.watermark
        newest = int(self.scored.dating.times(block).max())
        return newest + int(self._config.labels.maturity_s * 1000) <= watermark

    def pass_time(self) -> None:
        """Give out what has waited too long for the rest of its segment, and forget labels that are too old."""
        for reading in self.readings:
            reading.close_quiet_part()
        self._forget_labels()

    def _forget_labels(self) -> None:
        """A label is needed until its event was read again in both logs, as far as shadow scores are there."""
        watermark = self.scored_again.watermark
        if not self.paired_again.done:
            watermark = min(watermark, self.paired_again.watermark)
        if watermark > NO_WATERMARK:
            self.labels.forget(watermark - int(self._config.labels.retention_s * 1000))

    def changes(self) -> dict[str, bytes | None]:
        """The parts of the state that differ from what was asked for last, by name; None is to be forgotten."""
        changed = self.labels.changes()
        first, again = self.scored.position, self.scored_again.position
        state = msgspec.msgpack.encode(
            ReadingState(
                mark=first.mark,
                watermark=first.watermark,
                labels_watermark=self.labels.watermark,
                again=again.next,
                again_mark=again.mark,
                again_watermark=again.watermark,
                slices=self._slices.values,
                paired=self.paired.position,
                paired_again=self.paired_again.position,
                paired_slices=self._paired_slices.values,
            )
        )
        if state != self._written:
            self._written = changed[STATE] = state
        return changed
