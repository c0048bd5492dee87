"""A stretch of any length folds into few cells, and nothing is lost or counted twice on the way."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.monitoring.report.data import MAX_CELLS, ReportData
from penstock.schemas.alerts import Alert
from penstock.schemas.summaries import SignalCounts, Summary

DAY_MS = 24 * 3600 * 1000
YEAR_MS = 365 * DAY_MS


def summary(time_ms: int, *, partition: int = 0, segment: int = 0, part: int = 0, rows: int = 10) -> Summary:
    counts = {"feature:x": SignalCounts(np.full(36, rows), finite=rows)} if rows else {}
    return Summary(
        partition, segment, part, True, 0, 9, rows, "m@1", counts, (time_ms - 10, time_ms), (0, 0), 0, 1, 0,
        {("champion", "m@1", 3): rows},
    )  # fmt: skip


@given(st.lists(st.integers(0, 5 * YEAR_MS), min_size=1, max_size=200))
def test_any_stretch_folds_into_few_cells_that_hold_everything(times: list[int]) -> None:
    data = ReportData()
    for segment, time_ms in enumerate(times):
        data.add_summary(summary(time_ms, segment=segment))
    starts = data.timeline.starts()
    assert len(starts) <= MAX_CELLS
    expected = Counter(time_ms // data.timeline.length_ms * data.timeline.length_ms for time_ms in times)
    assert {start: cell.rows // 10 for start, cell in data.timeline.cells.items() if cell.rows} == expected
    assert sum(cell.arrived["champion"] for cell in data.timeline.cells.values()) == 10 * len(times)
    assert all(start in starts for start in expected)
    total = data.timeline.total()
    assert (total.rows, total.late_rows) == (10 * len(times), len(times))
    assert total.signals["m@1", "feature:x"].slots.tolist() == [10 * len(times)] * 36


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 2)), max_size=60, unique=True), st.data()
)
def test_a_part_of_a_segment_that_comes_again_counts_once(
    parts: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """A watch that starts again repeats a partition's last parts, in their order."""
    ordered = sorted(parts)
    once, again = ReportData(), ReportData()
    for partition, segment, part in ordered:
        once.add_summary(summary(1000, partition=partition, segment=segment, part=part))
        again.add_summary(summary(1000, partition=partition, segment=segment, part=part))
        seen = [known for known in ordered if known <= (partition, segment, part) and known[0] == partition]
        for repeat in seen[data.draw(st.integers(0, len(seen))) :]:
            again.add_summary(summary(1000, partition=repeat[0], segment=repeat[1], part=repeat[2]))
    assert again.timeline.total().rows == once.timeline.total().rows == 10 * len(parts)


def test_a_stretch_takes_the_segments_that_end_in_it() -> None:
    data = ReportData(1000, 2000)
    for segment, time_ms in enumerate((999, 1000, 1999, 2000)):
        data.add_summary(summary(time_ms, segment=segment))
    assert data.segments == 2
    assert data.event_times == (999, 1999)
    assert data.seen == (989, 2000)


def test_volume_is_laid_over_the_time_in_which_the_events_came() -> None:
    data = ReportData()
    for segment in range(4):
        end = (segment + 1) * 3_600_000
        data.add_summary(replace(summary(end - 1, segment=segment, rows=60), event_times=(end - 3_600_000, end - 1)))
    assert data.timeline.length_ms == 5 * 60_000
    assert [cell.arrived["champion"] for _, cell in data.timeline.ordered()] == [5] * 48


def test_one_event_that_comes_years_late_moves_no_more_than_itself() -> None:
    data = ReportData()
    data.add_summary(replace(summary(5 * YEAR_MS), event_times=(5 * YEAR_MS - 60_000, 5 * YEAR_MS)))
    data.add_summary(replace(summary(5 * YEAR_MS + 60_000, segment=1), event_times=(0, 5 * YEAR_MS + 60_000)))
    assert data.event_times == (5 * YEAR_MS - 60_000, 5 * YEAR_MS + 60_000)
    assert len(data.timeline.starts()) == 3


def test_a_segment_without_a_scored_row_moves_nothing() -> None:
    data = ReportData()
    data.add_summary(summary(0, rows=0))
    assert data.event_times is None
    assert data.seen is None


@pytest.mark.parametrize(
    ("first", "last", "inside"), [(0, 999, False), (0, 1000, True), (1999, 5000, True), (2000, 5000, False)]
)
def test_an_alert_belongs_to_every_stretch_that_it_lasted_in(first: int, last: int, inside: bool) -> None:
    data = ReportData(1000, 2000)
    data.add_alert(Alert("a", "raised", "warning", "x", "p", "data_drift", first, first, first, 1, []))
    data.add_alert(Alert("a", "cleared", "warning", "x", "p", "data_drift", first, last, last, 2, []))
    assert [alert.state for alert in data.alerts] == (["cleared"] if inside else [])
