"""The page's section on candidates: what they said, how right they were, over time and by slice."""

from __future__ import annotations

import re
from collections.abc import Iterator

import histories
import numpy as np
import pytest
from histories import HOUR_MS, MODEL, MONDAY
from msgspec.structs import replace
from paired_rows import candidate, paired_rows

from penstock.monitoring.comparison.compare import compare, compare_labelled
from penstock.monitoring.config import LabelsConfig, RolloutConfig
from penstock.monitoring.report.comparisons import Comparisons
from penstock.monitoring.report.data import ReportData
from penstock.monitoring.report.page import Page, make_page, render
from penstock.schemas.comparison import ComparisonSummary
from penstock.schemas.summaries import Summary

LABELS = LabelsConfig(maturity_s=3600.0, bucket_s=12 * 3600.0, slices=("origin", "sex"))
SEGMENTS = 16


def compared(
    segment: int, *, labels: bool = True, origins: tuple[str, ...] = ("JFK", "LGA")
) -> Iterator[ComparisonSummary]:
    """The comparison of a segment at once, and at maturity: the candidate is better, but not at the first origin."""
    rng = np.random.default_rng(segment)
    rows = 128
    truth = (rng.random(rows) < 0.3).astype(float)
    served = np.where(truth == 1, 0.6, 0.35)
    origin = rng.choice(origins, rows)
    tried = np.where(origin == origins[0], served * 0.7, np.where(truth == 1, 0.8, 0.1))
    block = paired_rows(
        served.tolist(), candidate(tried.tolist()),
        event_times=(MONDAY + segment * 12 * HOUR_MS + np.arange(rows)).tolist(),
        slices={"origin": origin.tolist(), "sex": ["F-withheld"] * rows}, first_offset=segment * rows,
    )  # fmt: skip
    known = truth if labels else np.full(rows, np.nan)
    yield compare(block, LABELS, segment=segment, part=0, complete=True, watermark=0)
    yield compare_labelled(
        block, known, block.event_times, LABELS, RolloutConfig(), segment=segment, part=0, complete=True, watermark=0
    )


@pytest.fixture(scope="module")
def served() -> list[Summary]:
    """A week of what was served."""
    rng = np.random.default_rng(1)
    profile = histories.profile(rng)
    blocks = [
        histories.block(histories.columns(rng, 256), segment, MONDAY + segment * 12 * HOUR_MS)
        for segment in range(SEGMENTS)
    ]
    return [histories.summary(block, profile) for block in blocks]


def page_of(served: list[Summary], comparisons: list[ComparisonSummary]) -> Page:
    data = ReportData()
    for summary in served:
        data.add_summary(summary)
    for comparison in comparisons:
        data.add_comparison(comparison)
    return make_page(data, {}, pipeline="flights", labels=LABELS, sensitive=histories.SENSITIVE, made_ms=MONDAY)


def test_it_says_which_model_was_right_more_often_and_where_not(served: list[Summary]) -> None:
    page = page_of(served, [each for segment in range(SEGMENTS) for each in compared(segment)])
    [view] = page.candidates
    assert view.title == f"delay@4 beside {MODEL}"
    assert view.sentences[0] == "2,048 rows, 2,048 with an outcome."
    assert view.sentences[1].endswith("of the served model: better so far.")
    assert [(line.name, line.verdict) for line in view.slices] == [("origin=JFK", "worse"), ("origin=LGA", "better")]
    assert [plot.title for plot in view.plots] == [
        "Log loss of both, on the same rows", "AUC of both, on the same rows", "Decided alike, % of rows",
    ]  # fmt: skip
    assert view.plots[0].legend == ("served: delay@3", "candidate: delay@4")
    shown = render(page)
    assert "<h2>Shadow and rollout</h2>" in shown
    assert len(re.findall("decides yes", shown)) == 1


def test_before_labels_it_says_how_far_the_two_agree(served: list[Summary]) -> None:
    [view] = page_of(served, [each for segment in range(4) for each in compared(segment, labels=False)]).candidates
    assert view.sentences[0] == "512 rows, no outcome known yet."
    assert (view.known, [plot.title for plot in view.plots]) == (False, ["Decided alike, % of rows"])


def test_without_a_candidate_there_is_no_section(served: list[Summary]) -> None:
    assert "Shadow and rollout" not in render(page_of(served, []))


def test_values_of_sensitive_features_are_withheld_and_names_never_run(served: list[Summary]) -> None:
    evil = "<img src=x onerror=alert(1)>"
    shown = render(page_of(served, list(compared(0, origins=(evil, "LGA")))))
    assert "origin=&lt;img" in shown
    assert evil not in shown
    assert "withheld" not in shown


def test_each_comparison_counts_once_and_only_inside_the_stretch() -> None:
    data = ReportData(MONDAY, MONDAY + 12 * HOUR_MS)
    for segment in (0, 0, 1):
        for each in compared(segment):
            data.add_comparison(each)
    merged = data.comparisons.merged()
    assert merged is not None
    assert [sums.rows for group, sums in merged.pairs.items() if not group[3]] == [128]
    assert [sums.served.rows for group, sums in merged.labelled.items() if not group[3]] == [128]


def test_many_buckets_are_joined_and_lose_nothing() -> None:
    comparisons, [first, matured] = Comparisons((1000, 10_000, 100_000), 8), compared(0)
    for start in range(100):
        for each in (first, matured):
            moved = {(start * 1000, *group[1:]): sums for group, sums in (each.pairs or each.labelled).items()}
            comparisons.add(replace(each, **{"pairs" if each is first else "labelled": moved}))
    merged = comparisons.merged()
    assert merged is not None
    of_every = {group: sums for group, sums in merged.pairs.items() if not group[3]}
    assert len(of_every) <= 8
    assert sum(sums.rows for sums in of_every.values()) == 12_800
    assert sum(pair.candidate.rows for group, pair in merged.labelled.items() if not group[3]) == 12_800
    assert {group[0] for group in merged.pairs if group[3]} == {0}
