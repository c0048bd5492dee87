"""The monitors over a table, in its order: what would have been alerted had its rows come as a stream."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.models.profiling import build_profile
from penstock.monitoring.alarms import Family
from penstock.monitoring.budget import shares
from penstock.monitoring.config import AlertsConfig, DriftConfig, LabelsConfig
from penstock.monitoring.counting.binning import Binning
from penstock.monitoring.judging.judge import Judge
from penstock.schemas.columns import MISSING_INTEGER, Columns, Layout
from penstock.schemas.profile import ReferenceProfile
from penstock.schemas.summaries import Summary
from penstock.streams.offline.blocks import block_of, summaries_of
from penstock.streams.offline.findings import Finding, Findings
from penstock.streams.offline.inputs import (
    SEGMENTS,
    arrow_table,
    check_columns,
    check_something_is_watched,
    outcomes_in,
    segment_rows_for,
    times_in,
    with_reference,
)
from penstock.streams.offline.row_detectors import RowAlarm, error_alarms, is_exchangeable, joint_alarms
from penstock.streams.offline.table_columns import features_of

FALSE_ALARMS_PER = 1_000_000
_REFERENCE = "reference@1"

Progress: TypeAlias = Callable[[str, int, int], None]


@dataclass(frozen=True)
class DriftReport:
    """What `drift` found.

    rows              that were judged; those of the reference are not among them
    reference_rows    of the table, or of the table that was given as reference
    segment_rows      rows that were counted together
    false_alarms_per  the budget: one false alarm in so many rows
    watched           the columns
    left_out          column → why it was not watched
    joint_by_row      whether joint drift could be judged row by row: not where rows depend on those before them
    """

    findings: list[Finding]
    rows: int
    reference_rows: int
    segment_rows: int
    false_alarms_per: int
    watched: tuple[str, ...]
    left_out: dict[str, str]
    joint_by_row: bool


def drift(
    table: Any,
    *,
    reference: int | Any,
    label: str | None = None,
    prediction: str | None = None,
    segment_rows: int | None = None,
    false_alarms_per: int = FALSE_ALARMS_PER,
    time: str | None = None,
    ignore: Collection[str] = (),
    place: str = "the table",
    on_progress: Progress | None = None,
) -> DriftReport:
    """Judge the rows of a table, in its order, against a reference.

    Every column of numbers, booleans or categories is watched for drift, segment by segment; all numbers together for
    joint drift; and with `label` and `prediction` the errors for concept drift, row by row.

    Args:
        table: a pyarrow.Table, a pandas.DataFrame, or a mapping of names to arrays.
        reference: how many of the table's first rows are the reference, or a table of its own.
        label: column of true outcomes; a null where it is not known.
        prediction: column of what was predicted: a class, a probability of 1, or a value.
        segment_rows: rows counted together; by default a 200th of the reference, 512 at most.
        false_alarms_per: the budget over everything that is watched, one false alarm in so many rows.
        time: column of event times, so that seasons of the day and the week are expected.
        ignore: columns that are not watched.
        place: what errors call the table.
        on_progress: called with a sentence, what is done and what there is to do.

    Raises ConfigurationError when a column is not there or is of no use, or the reference is too long or too short.

    >>> rng = np.random.default_rng(0)
    >>> price = rng.normal(40, 5, 6_000)
    >>> price[5_000:] += 5
    >>> [found] = drift({"price": price}, reference=4_000).findings
    >>> found.row, found.alert.title
    (5050, 'price: mean 39.92 → 45.35 (location)')
    """
    tell = on_progress or _silent
    arrow = arrow_table(table)
    whole, reference_rows, before = with_reference(arrow, reference, place)
    check_columns(whole, place, label=label, prediction=prediction, time=time, ignore=ignore)
    rows = whole.num_rows - reference_rows
    segment_rows = segment_rows_for(segment_rows, reference_rows, place)
    outcomes = outcomes_in(whole, label, prediction, place)
    scores = None if outcomes is None else outcomes.scores
    apart = {name for name in (time, prediction if scores is not None else None) if name}
    columns, left_out = features_of(whole, reference_rows=reference_rows, ignore={*ignore, *apart})
    left_out |= {
        name: "the reference does not have it" for name in arrow.column_names if name not in whole.column_names
    }
    check_something_is_watched({*columns.layout.names, *apart} - {time}, left_out, place)
    times = np.arange(whole.num_rows) if time is None else times_in(whole, time, place)
    findings = Findings(before, segment_rows, rows)

    matrix, names = _numbers(columns, {label, prediction})
    by_row = len(names) > 1 and is_exchangeable(matrix[:reference_rows])
    parts = _shares(columns.layout, scored=scores is not None, joint=len(names) > 1, labelled=outcomes is not None)
    joint: list[RowAlarm] = []
    if by_row:
        every = false_alarms_per / parts["joint_drift"]
        joint += _only_alarms(
            joint_alarms(matrix, reference_rows, names, false_alarm_every=every), "Comparing rows", rows, tell
        )

    known = slice(reference_rows % segment_rows, reference_rows)
    profile = build_profile(
        columns.take(known),
        scores=None if scores is None else scores[known],
        times=None if time is None else times[known],
        segment_rows=segment_rows,
    )
    rest = 1 - (parts["joint_drift"] if by_row else 0) - parts.get("concept_drift", 0)
    judge = _judge(profile, segment_rows, false_alarms_per / rest, timed=time is not None)
    binning = Binning.of(columns.layout, (), profile, reference=_REFERENCE)

    def counted(part: slice, kinds: Collection[str]) -> Iterator[Summary]:
        block = block_of(
            columns.take(part),
            times[part],
            None if scores is None else scores[part],
            variant=prediction or "",
            reference=_REFERENCE,
        )
        for summary in summaries_of(block, binning, segment_rows):
            signals = {name: found for name, found in summary.signals.items() if name.partition(":")[0] in kinds}
            yield msgspec.structs.replace(summary, signals=signals)

    learnt = {"length", *([] if by_row else ["distance"])}  # of these the profile knows nothing
    for summary in counted(known, learnt):
        judge.alarms(summary)
    for summary in counted(
        slice(reference_rows, None), {"feature", *(["score"] if scores is not None else []), *learnt}
    ):
        findings.observe(summary.segment, judge.alarms(summary), joint)
        tell("Comparing segments", summary.last_offset, rows)
    findings.finish()

    if outcomes is not None:
        errors = error_alarms(
            outcomes.errors,
            reference_rows,
            signal=f"errors:{prediction}",
            values=outcomes.task == "regression",
            false_alarm_every=false_alarms_per / parts["concept_drift"],
        )
        for alarm in _only_alarms(errors, "Following errors", rows, tell):
            findings.add(alarm)
    seen = {*columns.layout.names, *(name for name in apart if name != time)}
    return DriftReport(
        findings.sorted(),
        rows,
        reference_rows,
        segment_rows,
        false_alarms_per,
        tuple(name for name in whole.column_names if name in seen),
        left_out,
        by_row,
    )


def _shares(layout: Layout, *, scored: bool, joint: bool, labelled: bool) -> dict[Family, float]:
    """Of the budget: what is judged by row, and what the judge divides among its signals."""
    features = len(layout.names) + len(layout.categories)
    return shares({"data_drift": features, "score_drift": scored, "joint_drift": joint, "concept_drift": labelled})


def _judge(profile: ReferenceProfile, segment_rows: int, false_alarms_per: float, *, timed: bool) -> Judge:
    config = DriftConfig(
        segment_rows=segment_rows,
        false_alarms_per_week=1.0,
        segments_per_week=false_alarms_per / segment_rows,
        reference_segments=min(profile.rows // segment_rows, SEGMENTS),
        detectors={} if timed else {"rows": ()},
    )
    return Judge(config, LabelsConfig(), AlertsConfig(), pipeline="", profile=lambda _: profile)


def _silent(sentence: str, done: int, total: int) -> None:
    pass


def _only_alarms(alarms: Iterator[RowAlarm | int], sentence: str, rows: int, tell: Progress) -> Iterator[RowAlarm]:
    for each in alarms:
        if isinstance(each, RowAlarm):
            yield each
        else:
            tell(sentence, each, rows)


def _numbers(columns: Columns, apart: Collection[str | None]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """[rows, columns] of the features that are numbers, and their names."""
    layout = columns.layout
    floats = [i for i, name in enumerate(layout.floats) if name not in apart]
    integers = [i for i, name in enumerate(layout.integers) if name not in apart]
    whole = columns.integers[:, integers]
    matrix = np.concatenate(
        [columns.floats[:, floats], np.where(whole == MISSING_INTEGER, np.nan, whole.astype(np.float64))], axis=1
    )
    names = (*(layout.floats[i] for i in floats), *(layout.integers[i] for i in integers))
    varies = np.nanmax(matrix, axis=0, initial=-np.inf) > np.nanmin(matrix, axis=0, initial=np.inf)
    return matrix[:, varies], tuple(name for name, does in zip(names, varies.tolist(), strict=True) if does)
