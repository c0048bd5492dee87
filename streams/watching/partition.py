"""What watch knows of one partition: its open segment, its labels, and how far it has read the log a second time.

Pure but for the clock that it is given: records go in, summaries and state come out. The role reads and writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.config import LabelsConfig
from penstock.monitoring.counting.binning import Binning
from penstock.monitoring.counting.count import count
from penstock.monitoring.quality.labels import LabelRuns
from penstock.monitoring.quality.measure import measure
from penstock.monitoring.quality.slices import Slices
from penstock.schemas.keys import hash_keys
from penstock.schemas.labels import LabelBatch, decode_labels
from penstock.schemas.quality import QualitySummary
from penstock.schemas.scored import ScoredBlock
from penstock.schemas.summaries import NO_WATERMARK, Summary
from penstock.streams.partitioners import Partitioner, partition_of
from penstock.streams.watching.segments import BEGINNING, Mark, Part, SegmentCutter

STATE = "reading"
"""Under this name the state stands beside the runs of labels."""
_RUNS = "labels/"


class WatchConfig(NamedTuple):
    """Times in ms; what they mean is said in `penstock.streams.settings.monitoring`.

    partitions   of the scored log
    partitioner  of the events; None: labels lie where their events do
    """

    segment_rows: int
    segment_max_ms: int
    max_out_of_order_ms: int
    max_future_ms: int
    labels: LabelsConfig
    partitions: int = 1
    partitioner: Partitioner | None = None


class ReadingState(msgspec.Struct, frozen=True):
    """How far a partition was read, at a checkpoint.

    watermark         of the summarised rows, Unix ms
    labels_watermark  all labels up to then have been sent; None where nobody says so
    again             record of the scored log to read next for the second time, and
    again_mark        how far its rows were judged, and
    again_watermark   of those
    slices            feature → values that are slices of their own
    """

    mark: Mark = BEGINNING
    watermark: int = NO_WATERMARK
    labels_watermark: int | None = None
    again: int = 0
    again_mark: Mark = BEGINNING
    again_watermark: int = NO_WATERMARK
    slices: dict[str, list[str]] = {}
    version: int = 1


class LabelRecord(Protocol):
    """A record of the labels topic, as far as it matters here."""

    @property
    def key(self) -> bytes | None: ...

    @property
    def value(self) -> bytes | None: ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class Stray(NamedTuple):
    """A label whose event is in another partition."""

    partition: int
    record: LabelRecord


class PartitionWatch:
    """One partition. `binning` gives the bins of the present reference, `clock` Unix ms."""

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
        self._config, self._binning, self._clock = config, binning, clock
        read = msgspec.msgpack.decode(state[STATE], type=ReadingState) if STATE in state else ReadingState()
        self._live = SegmentCutter(config.segment_rows, read.mark)
        self._again = SegmentCutter(config.segment_rows, read.again_mark)
        self._watermark = self._newest = read.watermark
        self._labels_watermark = read.labels_watermark
        self._slices = Slices({feature: read.slices.get(feature, ()) for feature in config.labels.slices})
        self._next_again, self._again_watermark = read.again, read.again_watermark
        self._labels = LabelRuns.restore(
            ((name[len(_RUNS) :], run) for name, run in state.items() if name.startswith(_RUNS)),
            limit=config.labels.rows,
        )
        self._opened_at: dict[SegmentCutter, int] = {}
        self._written = state.get(STATE)
        self.summaries: list[Summary] = []
        self.qualities: list[QualitySummary] = []
        self.strays: list[Stray] = []

    # The first reading: what came.

    def scored(self, block: ScoredBlock, record: int) -> None:
        """Rows of the scored log, in order; `record` is the offset of their record there."""
        for part in self._timed(self._live, block, record):
            self._summarise(part)
        self._newest = max(self._newest, self._watermark_after(block))

    def _summarise(self, part: Part) -> None:
        config = self._config
        summary = count(
            part.block,
            self._binning(part.block),
            segment=part.segment,
            part=part.part,
            complete=part.complete,
            watermark_before=self._watermark,
            max_future_ms=config.max_future_ms,
            max_out_of_order_ms=config.max_out_of_order_ms,
        )
        self._watermark = max(self._watermark, summary.watermark)
        self.summaries.append(summary)

    def _watermark_after(self, block: ScoredBlock) -> int:
        """As if these rows were summarised already: the second reading need not wait for their segment's end."""
        good = self._well_dated(block)
        return int(block.event_times[good].max()) - self._config.max_out_of_order_ms if good.any() else NO_WATERMARK

    def _well_dated(self, block: ScoredBlock) -> NDArray[np.bool_]:
        """[rows] whether an event's time is not too far ahead of its broker timestamp."""
        return block.event_times <= block.timestamps + self._config.max_future_ms

    # Labels.

    def labels(self, records: Sequence[LabelRecord]) -> LabelBatch:
        """Records of the labels topic, in order. Returns what was read of them, for whoever counts.

        A label whose event is in another partition, by its source or by its key, is sent on to that one.
        """
        batch = decode_labels(records)
        there = self._homes(batch, records)
        mine = there == self.partition
        self._labels.put(batch.hashes[mine], batch.values[mine], batch.times[mine])
        for stray in np.flatnonzero(~mine).tolist():
            self.strays.append(Stray(int(there[stray]), records[int(batch.positions[stray])]))
        if batch.watermark is not None:
            self._labels_watermark = max(self._labels_watermark or NO_WATERMARK, batch.watermark)
        return batch

    def _homes(self, batch: LabelBatch, records: Sequence[LabelRecord]) -> NDArray[np.int64]:
        """The partition of each label's event, [labels]."""
        config, homes = self._config, batch.sources[:, 0].copy()
        if config.partitioner is not None:
            for row in np.flatnonzero(homes < 0).tolist():
                if (key := records[int(batch.positions[row])].key) is not None:
                    homes[row] = partition_of(key, config.partitions, config.partitioner)
        homes[(homes < 0) | (homes >= config.partitions)] = self.partition  # nobody knows better
        return homes

    # The second reading: what came, with what became of it.

    @property
    def next_again(self) -> int:
        """The record of the scored log to read next for the second time."""
        return self._next_again

    def is_mature(self, block: ScoredBlock) -> bool:
        """Whether labels for these rows count from now on: the watermark has passed their maturity.

        Where somebody sends watermarks of labels, those decide; otherwise the events' own do.
        """
        watermark = self._newest if self._labels_watermark is None else self._labels_watermark
        newest = int(np.where(self._well_dated(block), block.event_times, block.timestamps).max())
        return newest + int(self._config.labels.maturity_s * 1000) <= watermark

    def judge(self, block: ScoredBlock, record: int) -> None:
        """Join mature rows with their labels."""
        for part in self._timed(self._again, block, record):
            self._measure(part)
        self._next_again = record + 1

    def _measure(self, part: Part) -> None:
        block = part.block
        self._again_watermark = max(self._again_watermark, self._watermark_after(block))
        known = self._labels.join(hash_keys(map(str.encode, block.ids), block.rows))
        self.qualities.append(
            measure(
                block,
                known.values,
                known.times,
                self._config.labels,
                segment=part.segment,
                part=part.part,
                complete=part.complete,
                watermark=self._again_watermark,
                max_future_ms=self._config.max_future_ms,
                slices=self._slices,
            )
        )

    # Time passes.

    def close_quiet_parts(self) -> None:
        """Give out what has waited too long for the rest of its segment, and forget labels that are too old."""
        now = self._clock()
        for cutter, use in ((self._live, self._summarise), (self._again, self._measure)):
            if now - self._opened_at.get(cutter, now) >= self._config.segment_max_ms:
                if (part := cutter.close_part()) is not None:
                    use(part)
                del self._opened_at[cutter]
        if self._again_watermark > NO_WATERMARK:  # a label is needed until its event has been read again
            self._labels.expire(self._again_watermark - int(self._config.labels.retention_s * 1000))

    def _timed(self, cutter: SegmentCutter, block: ScoredBlock, record: int) -> Iterator[Part]:
        """The parts that `block` completes; remembers since when the open one waits."""
        before = cutter.mark
        yield from cutter.put(block, record)
        if not cutter.pending:
            self._opened_at.pop(cutter, None)
        elif cutter.mark != before or cutter not in self._opened_at:
            self._opened_at[cutter] = self._clock()

    # State.

    def resume(self, following: int) -> int:
        """The record of the scored log to go on from after a restart, when `following` would be read next now."""
        return self._live.resume(following)

    def changes(self) -> dict[str, bytes | None]:
        """The parts of the state that differ from what was asked for last, by name; None is to be forgotten."""
        changed: dict[str, bytes | None] = {f"{_RUNS}{name}": run for name, run in self._labels.changes()}
        state = msgspec.msgpack.encode(
            ReadingState(
                mark=self._live.mark,
                watermark=self._watermark,
                labels_watermark=self._labels_watermark,
                again=self._again.resume(self._next_again),
                again_mark=self._again.mark,
                again_watermark=self._again_watermark,
                slices=self._slices.values,
            )
        )
        if state != self._written:
            self._written = changed[STATE] = state
        return changed
