"""One partition of watch and the shadow scores: what is compared, when, and how long labels are kept for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from paired_rows import candidate, paired_rows
from scored_rows import scored_rows

from penstock.monitoring.config import LabelsConfig, RolloutConfig
from penstock.monitoring.counting.binning import Binning
from penstock.schemas.comparison import ComparisonSummary, merge_comparison
from penstock.schemas.comparison_wire import encode_comparison
from penstock.schemas.keys import hash_keys
from penstock.schemas.paired import PairedBlock
from penstock.schemas.paired_wire import take
from penstock.schemas.records import Label
from penstock.schemas.scored import ScoredBlock
from penstock.streams.watching.config import WatchConfig
from penstock.streams.watching.partition import STATE, PartitionWatch

HERE, ROWS = 2, 40
MATURITY_S, RETENTION_S = 10, 100
LABELS = LabelsConfig(maturity_s=MATURITY_S, retention_s=RETENTION_S, silence=0.0, slices=("origin",))
CONFIG = WatchConfig(8, 60_000, 0, 5_000, LABELS, rollout=RolloutConfig(slices=("origin",)))


@dataclass
class Given:
    """A record of the labels topic."""

    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 0


def label(offset: int, time: int, value: float = 1.0) -> Given:
    return Given(msgspec.json.encode(Label(f"event-{offset}", value, time)))


def binning(block: ScoredBlock) -> Binning:
    return Binning.of(block.columns.layout, block.aged, None, reference="")


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


def watching(clock: Clock | None = None, state: dict[str, bytes] | None = None) -> PartitionWatch:
    return PartitionWatch(HERE, CONFIG, binning=binning, clock=clock or Clock(), state=state or {})


def paired(offsets: Sequence[int], *, times: Sequence[int] | None = None) -> PairedBlock:
    """Rows at these offsets, an event a second; the candidate is wrong about every fifth, the champion never."""
    rows = len(offsets)
    served = [0.9] * rows
    tried = [0.2 if offset % 5 == 0 else 0.8 for offset in offsets]
    asked = [offset % 4 != 3 for offset in offsets]
    block = paired_rows(
        served,
        candidate(tried, sampled=asked),
        event_times=[1_000 * offset for offset in offsets] if times is None else times,
        slices={"origin": [f"airport {offset % 30}" for offset in offsets]},  # more than slices of their own
    )
    ids = hash_keys((f"event-{offset}".encode() for offset in offsets), rows)
    return replace(block, offsets=np.array(offsets, np.int64), ids=ids, keys=ids)


def scored_at(time: int) -> ScoredBlock:
    return scored_rows([0.9], event_times=[time], first_offset=time)


class ShadowScores:
    """The topic, and who reads it: what a checkpoint did not write is lost when it crashes."""

    def __init__(self, records: Sequence[PairedBlock]) -> None:
        self._records, self._clock = records, Clock()
        self._state: dict[str, bytes] = {}
        self._offset = 0
        self.once: list[ComparisonSummary] = []
        self.at_maturity: list[ComparisonSummary] = []
        self.restart()
        self._watch.labels.put([label(offset, 1_000 * offset) for offset in range(0, ROWS, 3)])

    def restart(self) -> None:
        self._watch = watching(self._clock, self._state)
        self._next = self._offset

    def read(self, *, once: int = 0, again: int = 0) -> None:
        """So many more records of each reading, as far as there are any."""
        for record in range(self._next, min(self._next + once, len(self._records))):
            self._watch.paired.put(self._records[record], record)
            self._next = record + 1
        second = self._watch.paired_again
        for record in range(second.next, min(second.next + again, len(self._records))):
            second.put(self._records[record], record)

    def checkpoint(self) -> None:
        self.once += self._watch.paired.give()
        self.at_maturity += self._watch.paired_again.give()
        for name, value in self._watch.changes().items():
            if value is not None:
                self._state[name] = value
            else:
                self._state.pop(name, None)
        self._offset = self._watch.paired.resume(self._next)

    def read_all(self) -> ShadowScores:
        self.read(once=len(self._records), again=len(self._records))
        self._clock.now += CONFIG.segment_max_ms
        self._watch.pass_time()
        self.checkpoint()
        return self


def in_bytes(comparisons: Sequence[ComparisonSummary]) -> list[bytes]:
    return [encode_comparison(comparison)[0] for comparison in comparisons]


def merged(comparisons: Sequence[ComparisonSummary]) -> bytes:
    """All in one; how long calls took is rounded by record."""
    return encode_comparison(msgspec.structs.replace(reduce(merge_comparison, comparisons), latencies={}))[0]


cuts = st.sets(st.integers(1, ROWS - 1)).map(sorted)
stretches = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans(), st.booleans()), max_size=12)
"""Records of the first and of the second reading; whether a checkpoint follows; whether a crash follows."""


def topic(cut: Sequence[int]) -> ShadowScores:
    whole = paired(range(0, 2 * ROWS, 2))
    return ShadowScores([take(whole, slice(start, stop)) for start, stop in pairwise([0, *cut, ROWS])])


@settings(max_examples=40, deadline=None)
@given(cuts, stretches)
def test_how_records_were_cut_and_crashes_change_no_sum(
    cut: list[int], story: list[tuple[int, int, bool, bool]]
) -> None:
    expected, found, undisturbed = topic([]).read_all(), topic(cut), topic(cut).read_all()
    found.checkpoint()  # the labels were committed
    for once, again, checkpoint, crash in story:
        found.read(once=once, again=again)
        if checkpoint:
            found.checkpoint()
        if crash:
            found.restart()
    found.read_all()
    assert in_bytes(found.once) == in_bytes(undisturbed.once)
    assert in_bytes(found.at_maturity) == in_bytes(undisturbed.at_maturity)
    assert merged(found.once) == merged(expected.once)
    assert merged(found.at_maturity) == merged(expected.at_maturity)


def test_each_row_is_compared_once_and_again_with_its_outcome() -> None:
    everything = topic([7, 20]).read_all()
    at_once, again = reduce(merge_comparison, everything.once), reduce(merge_comparison, everything.at_maturity)
    [(group, pairs)] = [(group, sums) for group, sums in at_once.pairs.items() if group[3] == ""]
    assert group[1:3] == ("delay@4", "delay@3")
    assert (pairs.rows, pairs.agreed) == (ROWS, ROWS - ROWS // 5)
    [labelled] = [sums for group, sums in again.labelled.items() if group[3] == ""]
    late = [offset for offset in range(0, 2 * ROWS, 2) if offset % 3 == 0 and offset < ROWS]
    assert labelled.served.rows == labelled.candidate.rows == ROWS, "silence is an outcome"
    assert labelled.served.positives == len(late)
    assert labelled.candidate.correct > labelled.served.correct, "it says no more often"
    cells = {group[3]: int(cell.rows.sum()) for group, cell in again.cells.items()}
    assert cells[""] == ROWS
    assert sum(rows for name, rows in cells.items() if name) == ROWS


def test_quality_has_cells_of_each_variant() -> None:
    watch = watching()
    watch.scored_again.put(scored_rows([0.9] * 8, categories={"origin": ["JFK"] * 8}), 0)
    [quality] = watch.scored_again.summaries
    assert {group[1:] for group in quality.cells} == {
        ("champion", "delay@3", ""),
        ("champion", "delay@3", "origin=JFK"),
    }


def test_a_silent_topic_holds_no_label_back() -> None:
    watch = watching()
    watch.scored_again.put(scored_at(500_000), 0)
    watch.scored_again.put(scored_at(500_008), 1)
    watch.pass_time()
    assert watch.labels.horizon < 0, "nobody knows yet whether shadow scores wait"
    watch.paired_again.at_end = True
    watch.pass_time()
    assert watch.labels.horizon == 400_000


def test_a_label_is_kept_until_its_paired_row_was_judged() -> None:
    clock = Clock()
    watch = watching(clock)
    watch.labels.put([label(204, 204_000)])
    watch.paired_again.at_end = True
    watch.paired_again.waiting.append((paired(range(200, 207)), 0))  # its segment's last row never comes
    watch.scored_again.put(scored_at(500_000), 0)
    watch.scored_again.put(scored_at(500_008), 1)
    watch.pass_time()
    watch.paired_again.put(*watch.paired_again.waiting.popleft())
    watch.pass_time()
    assert watch.labels.horizon < 0
    clock.now += CONFIG.segment_max_ms
    watch.pass_time()
    [comparison] = watch.paired_again.summaries
    assert max(sums.served.positives for sums in comparison.labelled.values()) == 1
    assert watch.unjudged == 0
    assert watch.labels.horizon == 400_008


def test_rows_that_come_after_their_labels_went_are_counted_not_judged() -> None:
    watch = watching()
    watch.paired_again.at_end = True
    watch.scored_again.put(scored_at(500_000), 0)
    watch.scored_again.put(scored_at(500_008), 1)
    watch.pass_time()  # labels of before 400 s are forgotten
    watch.labels.put([label(offset, 1_000 * offset + 200_000) for offset in range(392, 408)])
    watch.paired_again.put(paired([390, 392, 396, 400, 402, 404, 406]), 0)
    watch.paired_again.put(paired([408]), 1)
    assert watch.unjudged == 3
    [comparison] = watch.paired_again.summaries
    assert (comparison.segment, comparison.first_offset) == (50, 400)
    assert max(sums.served.rows for sums in comparison.labelled.values()) == 4


def test_paired_rows_move_no_watermark_of_the_scored_log() -> None:
    watch = watching()
    rows = scored_at(1_000)
    watch.scored.put(rows, 0)
    watch.paired.put(paired(range(8), times=[10**9] * 8), 0)
    assert not watch.is_mature(rows)
    assert [comparison.watermark for comparison in watch.paired.summaries] == [10**9], "but they have their own"


def test_the_state_of_before_there_were_shadow_scores_is_read() -> None:
    old = {
        "mark": (15, 1, 0, True), "watermark": 7, "labels_watermark": None, "again": 3, "again_mark": (7, 0, 0, True),
        "again_watermark": 5, "slices": {"origin": ["JFK"]}, "version": 1,
    }  # fmt: skip
    watch = watching(state={STATE: msgspec.msgpack.encode(old)})
    assert (watch.scored.watermark, watch.scored_again.next, watch.paired_again.next) == (7, 3, 0)
    watch.paired.put(paired(range(8)), 0)
    assert [comparison.segment for comparison in watch.paired.summaries] == [0]
