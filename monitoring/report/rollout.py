"""Shadow and rollout: what candidates said and how right they were, beside what was served in the stretch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise

from penstock.monitoring.comparison.figures import Figures, PairFigures, figures, main_loss, over_time
from penstock.monitoring.comparison.wording import (
    TITLES,
    FigureLine,
    SliceLine,
    agreement_sentence,
    failure_sentence,
    figure_lines,
    loss_sentence,
    slice_lines,
)
from penstock.monitoring.config import LabelsConfig
from penstock.monitoring.report.data import ReportData
from penstock.monitoring.report.level import FEWEST_ROWS, MAIN_FIGURE
from penstock.monitoring.report.text import counted, duration
from penstock.monitoring.report.time import TimePlot, axis_of, line_plot

NAN = float("nan")
MOST_SLICES = 20
"""Those where the candidate is worst."""


@dataclass(frozen=True)
class CandidateView:
    """One candidate beside one served model.

    title      the two models
    sentences  what there is to know, the first thing first
    lines      figures of both
    loss       the loss by which slices are told apart, and whether it is known of any
    slices     where the candidate is surest to be worse first, and
    more       how many are left out
    plots      quality of both over time, and how far they agree
    """

    title: str
    sentences: list[str]
    lines: list[FigureLine]
    loss: str
    known: bool
    slices: list[SliceLine]
    more: str
    plots: list[TimePlot]


def rollout_view(data: ReportData, config: LabelsConfig, sensitive: AbstractSet[str]) -> list[CandidateView]:
    """Of each candidate and served model, those with the most rows first; empty where nothing was compared."""
    merged = data.comparisons.merged()
    if merged is None:
        return []
    return [
        _view(data, found, dict(over_time(merged, config, (found.candidate_model, found.served_model))))
        for found in figures(merged, config, sensitive=sensitive)
    ]


def _view(data: ReportData, found: PairFigures, buckets: Mapping[int, Figures]) -> CandidateView:
    loss = main_loss(found.task)
    sentences = [loss_sentence(found), agreement_sentence(found), failure_sentence(found)]
    labelled = f"{found.every.labelled:,} with an outcome" if found.every.labelled else "no outcome known yet"
    return CandidateView(
        title=f"{found.candidate_model} beside {found.served_model}",
        sentences=[f"{counted(found.every.rows, 'row')}, {labelled}.", *filter(None, sentences)],
        lines=list(figure_lines(found)),
        loss=TITLES[loss],
        known=any(loss in of.change for of in found.slices.values()),
        slices=slice_lines(found)[:MOST_SLICES],
        more=counted(len(found.slices) - MOST_SLICES, "slice") if len(found.slices) > MOST_SLICES else "",
        plots=_plots(data, found, buckets),
    )


def _plots(data: ReportData, found: PairFigures, buckets: Mapping[int, Figures]) -> list[TimePlot]:
    starts, ordered = list(buckets), list(buckets.values())
    length = min((b - a for a, b in pairwise(starts)), default=data.timeline.length_ms)
    axis = axis_of(data)
    places = [axis.place(start + length / 2) for start in starts]
    note = f"Each point is {duration(length)}; those with fewer than {FEWEST_ROWS} outcomes are left out."
    plots = []
    for name in dict.fromkeys((main_loss(found.task), MAIN_FIGURE[found.task])):
        curves = {
            f"served: {found.served_model}": [_known(of, of.served, name) for of in ordered],
            f"candidate: {found.candidate_model}": [_known(of, of.candidate, name) for of in ordered],
        }
        if any(math.isfinite(value) for curve in curves.values() for value in curve):
            title = TITLES[name][0].upper() + TITLES[name][1:]
            plots.append(line_plot(f"{title} of both, on the same rows", curves, places, note=note))
    alike = [NAN if of.agreement is None else 100 * of.agreement for of in ordered]
    if any(map(math.isfinite, alike)):
        plots.append(line_plot("Decided alike, % of rows", {"both": alike}, places, least=1.0))
    return plots


def _known(of: Figures, metrics: Mapping[str, float], name: str) -> float:
    return metrics.get(name, NAN) if of.labelled >= FEWEST_ROWS else NAN
