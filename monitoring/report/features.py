"""A feature's card in the report: its plot, its strip of the heat map, its figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from penstock.monitoring.report import svg
from penstock.monitoring.report.data import ReportData
from penstock.monitoring.report.findings import FeatureFinding
from penstock.monitoring.report.text import number, percent
from penstock.monitoring.report.time import heat_cells

SHOWN_CATEGORIES = 8
CLIPPED = 0.05
"""Moments are of clipped values: with more than this share outside the training range they say too little."""


@dataclass(frozen=True)
class FeatureCard:
    """`figures`: (name, reference, stretch)."""

    anchor: str
    name: str
    differs: bool
    what: str
    difference: str
    usual: str
    plot: Markup | None
    """None: sensitive."""
    strip: Markup
    figures: list[tuple[str, str, str]]


def feature_cards(findings: Sequence[FeatureFinding], data: ReportData) -> list[FeatureCard]:
    """In the order of the findings."""
    return [
        FeatureCard(
            anchor=f"feature-{place}",
            name=finding.name,
            differs=finding.differs,
            what=finding.what,
            difference=_distance(finding.difference),
            usual=_distance(finding.usual),
            plot=None if finding.sensitive else _plot(finding),
            strip=svg.heat_strip(_strip_label(finding), heat_cells(data, finding)),
            figures=_figures(finding),
        )
        for place, finding in enumerate(findings)
    ]


def _distance(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _strip_label(finding: FeatureFinding) -> str:
    known = [value for value in finding.strip.values() if not math.isnan(value)]
    if not known:
        return f"{finding.name}: no values"
    return f"{finding.name}: distance between {min(known):.2f} and {max(known):.2f} over time"


def _plot(finding: FeatureFinding) -> Markup:
    label = f"{finding.name}: {finding.what}" if finding.what else finding.name
    if finding.edges is not None:
        return svg.distribution(label, finding.edges, finding.before, finding.now)
    before = finding.before / max(int(finding.before.sum()), 1)
    now = finding.now / max(int(finding.now.sum()), 1)
    order = sorted(range(len(finding.values)), key=lambda k: -max(before[k], now[k]))
    shown = order if len(order) <= SHOWN_CATEGORIES else order[: SHOWN_CATEGORIES - 1]
    names = [finding.values[k] for k in shown]
    pairs = [(float(before[k]), float(now[k])) for k in shown]
    left = order[len(shown) :]
    rest = (f"{len(left)} more", float(now[left].sum())) if left else None
    for name, slot in (("other values", -2), ("missing", -1)):
        if max(before[slot], now[slot]) > 0:
            names.append(name)
            pairs.append((float(before[slot]), float(now[slot])))
    return svg.categories(label, names, [p for p, _ in pairs], [q for _, q in pairs], rest)


def _figures(finding: FeatureFinding) -> list[tuple[str, str, str]]:
    before, now = finding.rates_before, finding.rates
    rows = []
    if not finding.sensitive:
        if finding.edges is not None and len(finding.edges) and finding.extremes:
            lowest, highest = finding.extremes
            rows.append(("lowest", number(float(finding.edges[0])), number(lowest)))
            rows.append(("highest", number(float(finding.edges[-1])), number(highest)))
        if finding.moments_before and finding.moments and now.below + now.above < CLIPPED:
            rows.append(("mean", number(finding.moments_before.mean), number(finding.moments.mean)))
            rows.append(("deviation", number(finding.moments_before.deviation), number(finding.moments.deviation)))
        for name, was, share in (
            ("other values", before.unseen, now.unseen),
            ("below training", before.below, now.below),
            ("above training", before.above, now.above),
            ("infinite", before.invalid, now.invalid),
        ):
            if max(was, share) >= svg.SHOWN:
                rows.append((name, percent(was), percent(share)))
    if max(before.missing, now.missing) > 0:
        rows.append(("missing", percent(before.missing), percent(now.missing)))
    for name, share in (("out of range", now.out_of_range), ("default stood in", now.defaulted)):
        if share > 0:
            rows.append((name, "", percent(share)))
    return rows
