"""Comparisons of candidates with what is served, as a table for a person and as documents for a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.monitoring.comparison.figures import Figures, PairFigures, main_loss
from penstock.monitoring.comparison.wording import (
    TITLES,
    agreement_sentence,
    failure_sentence,
    figure_lines,
    loss_sentence,
    signed,
    slice_lines,
)
from penstock.monitoring.report.text import counted, number
from penstock.streams.console.alert_rendering import minute, printable

NARROW = 72
"""Columns of a terminal below which the losses of slices are shown without what stands beside them."""

_STYLES = {"better": "green", "worse": "red", "": ""}


def documents(found: Sequence[PairFigures]) -> list[dict[str, Any]]:
    """For a program: what a figure is called stands in `penstock.monitoring.comparison.figures`."""
    built: list[dict[str, Any]] = msgspec.to_builtins(list(found))
    return built


def show_comparison(found: PairFigures, console: Console, *, slices: int = 10) -> None:
    """Print one candidate beside one served model; of its slices the first `slices`, where it is worst."""
    blocks = (
        _head(found),
        [_figures(found)],
        _differences(found.every),
        _slices(found, slices, console.width < NARROW),
    )
    for place, block in enumerate(filter(None, map(list, blocks))):
        if place:
            console.print()
        for part in block:
            console.print(part)


def _head(found: PairFigures) -> Iterator[Text]:
    """Who, when, how many; and in a sentence each, what there is to know."""
    every = found.every
    yield Text(printable(f"{found.candidate_model} beside {found.served_model}"), style="bold")
    first, last = found.buckets
    buckets = minute(first) if first == last else f"{minute(first)} to {minute(last)}"
    labelled = f"{every.labelled:,} with an outcome" if every.labelled else "no outcome known yet"
    yield Text(f"{counted(every.rows, 'row')}, {labelled}; time buckets {buckets} UTC")
    for sentence, style in (
        (loss_sentence(found), ""),
        (agreement_sentence(found), ""),
        (failure_sentence(found), "red"),
    ):
        if sentence is not None:
            yield Text(sentence, style)


def _figures(found: PairFigures) -> Table:
    table = _table("", "served", "candidate", "change", "")
    for line in figure_lines(found):
        table.add_row(line.title, line.served, line.candidate, line.change, Text(line.verdict, _STYLES[line.verdict]))
    return table


def _differences(every: Figures) -> Iterator[Text | Table]:
    """How the scores differ, whether or not anybody knows who is right."""
    if every.difference is None or every.absolute is None:
        return
    ranks = "" if every.rank_correlation is None else f"; rank correlation {every.rank_correlation:.3f}"
    yield Text(f"score - served score: mean {signed(every.difference)}, mean size {number(every.absolute)}{ranks}")
    table = Table(box=None, header_style="dim", pad_edge=False)
    for share in every.quantiles:
        table.add_column(f"{float(share):.0%}".replace("%", " %"), justify="right", no_wrap=True)
    table.add_row(*map(signed, every.quantiles.values()))
    yield table


def _slices(found: PairFigures, most: int, narrow: bool) -> Iterator[Text | Table]:
    """Where outcomes are known: the loss of both; elsewhere: how far the two agree."""
    if not found.slices:
        return
    loss, values = main_loss(found.task), found.task == "regression"
    known = any(loss in of.change for of in found.slices.values())
    if known:
        title = TITLES[loss][0].upper() + TITLES[loss][1:]
        yield Text(f"{title} by slice, where the candidate is surest to be worse first")
        beside = [] if narrow else ["with outcome"] if values else ["with outcome", "agree"]
        table = _table("slice", "served", "candidate", "change", *beside, "")
    else:
        yield Text("By slice, where the two differ most first")
        table = _table("slice", "rows", "mean size of the difference" if values else "agree", "")
    for line in slice_lines(found)[:most]:
        cells = [line.rows, line.absolute if values else line.agreement]
        if known:
            cells = [line.served, line.candidate, line.change, *[line.labelled, line.agreement][: len(beside)]]
        verdict = line.verdict if known else ""
        table.add_row(Text(printable(line.name)), *cells, Text(verdict, _STYLES[verdict]))
    yield table
    if len(found.slices) > most:
        yield Text(f"and {counted(len(found.slices) - most, 'slice')} more", style="dim")


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(first, overflow="fold")
    for title in others:
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    return table
