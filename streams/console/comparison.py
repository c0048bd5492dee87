"""Comparisons of candidates with what is served, as a table for a person and as documents for a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.monitoring.comparison.figures import (
    HIGHER_IS_BETTER,
    LOWER_IS_BETTER,
    Figures,
    PairFigures,
    main_loss,
)
from penstock.monitoring.report.text import counted, number
from penstock.streams.console.alert_rendering import minute, printable

NARROW = 72
"""Columns of a terminal below which slices are shown without their counts of rows."""

_TITLES = {
    "log_loss": "log loss", "brier": "Brier score", "auc": "AUC", "accuracy": "accuracy",
    "calibration_error": "calibration error", "mean_score": "mean score", "base_rate": "rate of true outcomes",
    "true_positive_rate": "true positive rate", "false_positive_rate": "false positive rate",
    "precision": "precision", "rmse": "RMSE", "mae": "mean absolute error", "bias": "mean of score - outcome",
    "mean_label": "mean outcome",
}  # fmt: skip
_SHOWN = {
    "binary": ("log_loss", "brier", "auc", "accuracy", "precision", "true_positive_rate", "calibration_error",
               "mean_score", "base_rate"),
    "multiclass": ("log_loss", "accuracy"),
    "regression": ("rmse", "mae", "bias", "mean_score", "mean_label"),
}  # fmt: skip
_OF_OUTCOMES = ("base_rate", "mean_label")
"""The same for both."""
_STYLES = {"better": "green", "worse": "red", "": ""}


class _Row(NamedTuple):
    """One line of the table of figures; `verdict` is "better", "worse" or nothing."""

    title: str
    served: str
    candidate: str
    change: str = ""
    verdict: str = ""


def documents(found: Sequence[PairFigures]) -> list[dict[str, Any]]:
    """For a program: what a figure is called stands in `penstock.monitoring.comparison.figures`."""
    built: list[dict[str, Any]] = msgspec.to_builtins(list(found))
    return built


def show_comparison(found: PairFigures, console: Console, *, slices: int = 10) -> None:
    """Print one candidate beside one served model; of its slices the first `slices`, where it is worst."""
    blocks = (
        _head(found),
        [_metrics(found)],
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
    if (sentence := _loss_sentence(found)) is not None:
        yield sentence
    if every.agreement is not None:
        yield Text(f"The two decide alike on {_share(every.agreement)} of the rows.")
    if every.non_finite:
        yield Text(f"It gave no finite score for {_share(every.non_finite)} of the rows.", style="red")


def _differences(every: Figures) -> Iterator[Text | Table]:
    """How the scores differ, whether or not anybody knows who is right."""
    if every.difference is None or every.absolute is None:
        return
    ranks = "" if every.rank_correlation is None else f"; rank correlation {every.rank_correlation:.3f}"
    yield Text(f"score - served score: mean {_signed(every.difference)}, mean size {number(every.absolute)}{ranks}")
    table = Table(box=None, header_style="dim", pad_edge=False)
    for share in every.quantiles:
        table.add_column(f"{float(share):.0%}".replace("%", " %"), justify="right", no_wrap=True)
    table.add_row(*map(_signed, every.quantiles.values()))
    yield table


def _loss_sentence(found: PairFigures) -> Text | None:
    name = main_loss(found.task)
    served, candidate = (of.get(name) for of in (found.every.served, found.every.candidate))
    if served is None or candidate is None:
        return None
    change = candidate - served
    title = _TITLES[name]
    if not change:
        return Text(f"Its {title} is {_figure(candidate)}, just as that of the served model.")
    by = f", {abs(change) / served:.1%} ".replace("%", " %") if served else ", "
    return Text(
        f"Its {title} is {_figure(candidate)}{by}{'below' if change < 0 else 'above'} the {_figure(served)} of the "
        f"served model: {'better' if change < 0 else 'worse'} so far."
    )


def _metrics(found: PairFigures) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("", overflow="fold")
    for title in ("served", "candidate", "change"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in _rows(found):
        table.add_row(row.title, row.served, row.candidate, row.change, Text(row.verdict, _STYLES[row.verdict]))
    return table


def _rows(found: PairFigures) -> Iterator[_Row]:
    every = found.every
    for name in _SHOWN[found.task]:
        served, candidate = every.served.get(name), every.candidate.get(name)
        if served is not None or candidate is not None:
            change = None if name in _OF_OUTCOMES else every.change.get(name)
            written = "" if change is None else _change(change, served)
            yield _Row(_TITLES[name], _figure(served), _figure(candidate), written, _verdict(name, change))
    if every.served_yes is not None and every.candidate_yes is not None:
        change = every.candidate_yes - every.served_yes
        yield _Row("decides yes", _share(every.served_yes), _share(every.candidate_yes), f"{100 * change:+.2f}")
    if every.non_finite is not None:
        yield _Row("not finite", "", _share(every.non_finite))
    if found.served_us is not None or found.candidate_us is not None:
        ratio = f"×{found.candidate_us / found.served_us:.2f}" if found.served_us and found.candidate_us else ""
        yield _Row("µs per row", _microseconds(found.served_us), _microseconds(found.candidate_us), ratio)


def _slices(found: PairFigures, most: int, narrow: bool) -> Iterator[Text | Table]:
    """Where outcomes are known: the loss of both; elsewhere: how far the two agree."""
    loss = main_loss(found.task)
    if not found.slices:
        return
    if any(loss in of.change for of in found.slices.values()):
        yield Text(f"{_capital(_TITLES[loss])} by slice, where the candidate is surest to be worse first")
        titles, rows = _by_loss(found, loss, narrow)
    else:
        yield Text("By slice, where the two differ most first")
        titles, rows = _by_agreement(found)
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("slice", overflow="fold")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for name, (*cells, verdict) in list(zip(found.slices, rows, strict=True))[:most]:
        table.add_row(Text(printable(name)), *cells, Text(verdict, _STYLES[verdict]))
    yield table
    if len(found.slices) > most:
        yield Text(f"and {counted(len(found.slices) - most, 'slice')} more", style="dim")


def _by_loss(found: PairFigures, loss: str, narrow: bool) -> tuple[list[str], list[list[str]]]:
    """Titles, and the cells of each slice; the last cell is the verdict."""
    beside = [] if narrow else ["with outcome"] if found.task == "regression" else ["with outcome", "agree"]
    rows = []
    for of in found.slices.values():
        served, change = of.served.get(loss), of.change.get(loss)
        cells = [_figure(served), _figure(of.candidate.get(loss)), _change(change, served)]
        rows.append([*cells, *[f"{of.labelled:,}", _share(of.agreement)][: len(beside)], _verdict(loss, change)])
    return ["served", "candidate", "change", *beside, ""], rows


def _by_agreement(found: PairFigures) -> tuple[list[str], list[list[str]]]:
    """The same where no outcome is known."""
    if found.task == "regression":
        sizes = ((of.rows, "-" if of.absolute is None else number(of.absolute)) for of in found.slices.values())
        return ["rows", "mean size of the difference", ""], [[f"{rows:,}", size, ""] for rows, size in sizes]
    return ["rows", "agree", ""], [[f"{of.rows:,}", _share(of.agreement), ""] for of in found.slices.values()]


def _capital(title: str) -> str:
    return title[0].upper() + title[1:]


def _verdict(name: str, change: float | None) -> str:
    if not change or name not in LOWER_IS_BETTER | HIGHER_IS_BETTER:
        return ""
    return "better" if (change < 0) == (name in LOWER_IS_BETTER) else "worse"


def _figure(value: float | None) -> str:
    """Four places where it is small, for a candidate is seldom much better.

    >>> _figure(0.41237), _figure(31.4159), _figure(123456.7), _figure(None)
    ('0.4124', '31.42', '123,457', '-')
    """
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}" if abs(value) < 1000 else number(value)


def _change(value: float | None, of: float | None) -> str:
    """With as many places as the figure that changed."""
    if value is None or of is None:
        return "-"
    return f"{value:+.4f}" if abs(of) < 10 else f"{value:+,.2f}"


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def _share(share: float | None) -> str:
    """A share whose ends are told apart: one row in ten thousand matters.

    >>> _share(0.99999), _share(1.0), _share(0.97241), _share(0.00001), _share(None)
    ('>99.99 %', '100 %', '97.24 %', '<0.01 %', '-')
    """
    if share is None:
        return "-"
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    return "<0.01 %" if share < 0.0001 else ">99.99 %" if share > 0.9999 else f"{100 * share:.2f} %"


def _microseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
