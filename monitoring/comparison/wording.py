"""What a comparison says, in words and in lines of a table: the same on the screen and on the report's page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from penstock.monitoring.comparison.figures import HIGHER_IS_BETTER, LOWER_IS_BETTER, PairFigures, main_loss
from penstock.monitoring.report.text import number

Verdict = Literal["better", "worse", ""]
"""Of the candidate, by one figure as it stands; what is more than chance is for the gates to say."""

TITLES = {
    "log_loss": "log loss", "brier": "Brier score", "auc": "AUC", "accuracy": "accuracy",
    "calibration_error": "calibration error", "mean_score": "mean score", "base_rate": "rate of true outcomes",
    "true_positive_rate": "true positive rate", "precision": "precision", "rmse": "RMSE", "mae": "mean absolute error",
    "bias": "mean of score - outcome", "mean_label": "mean outcome",
}  # fmt: skip
_SHOWN = {
    "binary": ("log_loss", "brier", "auc", "accuracy", "precision", "true_positive_rate", "calibration_error",
               "mean_score", "base_rate"),
    "multiclass": ("log_loss", "accuracy"),
    "regression": ("rmse", "mae", "bias", "mean_score", "mean_label"),
}  # fmt: skip
_OF_OUTCOMES = ("base_rate", "mean_label")
"""The same for both."""


class FigureLine(NamedTuple):
    """One figure of both, written; "" where there is nothing to say."""

    title: str
    served: str
    candidate: str
    change: str = ""
    verdict: Verdict = ""


class SliceLine(NamedTuple):
    """One slice: the loss of both on its labelled rows, and how far the two agree."""

    name: str
    rows: str
    labelled: str
    served: str
    candidate: str
    change: str
    agreement: str
    absolute: str
    verdict: Verdict


def figure_lines(found: PairFigures) -> Iterator[FigureLine]:
    """Quality first, then what the two decide, then what the candidate costs."""
    every = found.every
    for name in _SHOWN[found.task]:
        served, candidate = every.served.get(name), every.candidate.get(name)
        if served is not None or candidate is not None:
            change = None if name in _OF_OUTCOMES else every.change.get(name)
            written = "" if change is None else change_text(change, served)
            yield FigureLine(TITLES[name], figure(served), figure(candidate), written, verdict(name, change))
    if every.served_yes is not None and every.candidate_yes is not None:
        points = 100 * (every.candidate_yes - every.served_yes)
        yield FigureLine("decides yes", share(every.served_yes), share(every.candidate_yes), f"{points:+.2f}")
    if every.non_finite is not None:
        yield FigureLine("not finite", "", share(every.non_finite))
    if found.served_us is not None or found.candidate_us is not None:
        ratio = f"×{found.candidate_us / found.served_us:.2f}" if found.served_us and found.candidate_us else ""
        yield FigureLine("µs per row", _microseconds(found.served_us), _microseconds(found.candidate_us), ratio)


def slice_lines(found: PairFigures) -> list[SliceLine]:
    """In the order of `PairFigures.slices`."""
    loss = main_loss(found.task)
    lines = []
    for name, of in found.slices.items():
        served, change = of.served.get(loss), of.change.get(loss)
        lines.append(
            SliceLine(
                name, f"{of.rows:,}", f"{of.labelled:,}", figure(served), figure(of.candidate.get(loss)),
                change_text(change, served), share(of.agreement), "-" if of.absolute is None else number(of.absolute),
                verdict(loss, change),
            )
        )  # fmt: skip
    return lines


def loss_sentence(found: PairFigures) -> str | None:
    """Which of the two has been right more often; None where no outcome is known."""
    name = main_loss(found.task)
    served, candidate = (of.get(name) for of in (found.every.served, found.every.candidate))
    if served is None or candidate is None:
        return None
    change = candidate - served
    if not change:
        return f"Its {TITLES[name]} is {figure(candidate)}, just as that of the served model."
    by = f"{abs(change) / served:.1%} ".replace("%", " %") if served else ""
    return (
        f"Its {TITLES[name]} is {figure(candidate)}, {by}{'below' if change < 0 else 'above'} the {figure(served)} of "
        f"the served model: {'better' if change < 0 else 'worse'} so far."
    )


def agreement_sentence(found: PairFigures) -> str | None:
    """None where nothing is decided."""
    agreement = found.every.agreement
    return None if agreement is None else f"The two decide alike on {share(agreement)} of the rows."


def failure_sentence(found: PairFigures) -> str | None:
    """None where it never failed."""
    failed = found.every.non_finite
    return f"It gave no finite score for {share(failed)} of the rows." if failed else None


def verdict(name: str, change: float | None) -> Verdict:
    """By a metric's change.

    >>> verdict("log_loss", -0.1), verdict("auc", -0.1), verdict("mean_score", 0.1), verdict("auc", None)
    ('better', 'worse', '', '')
    """
    if not change or name not in LOWER_IS_BETTER | HIGHER_IS_BETTER:
        return ""
    return "better" if (change < 0) == (name in LOWER_IS_BETTER) else "worse"


def figure(value: float | None) -> str:
    """Four places where it is small, for a candidate is seldom much better.

    >>> figure(0.41237), figure(31.4159), figure(123456.7), figure(None)
    ('0.4124', '31.42', '123,457', '-')
    """
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}" if abs(value) < 1000 else number(value)


def change_text(value: float | None, of: float | None) -> str:
    """With as many places as the figure that changed.

    >>> change_text(-0.01234, 0.4), change_text(2.5, 31.4), change_text(None, None)
    ('-0.0123', '+2.50', '-')
    """
    if value is None or of is None:
        return "-"
    return f"{value:+.4f}" if abs(of) < 10 else f"{value:+,.2f}"


def signed(value: float) -> str:
    """A number with its sign.

    >>> signed(0.0123), signed(-2.0), signed(0.0)
    ('+0.0123', '-2', '0')
    """
    return f"+{number(value)}" if value > 0 else number(value)


def share(value: float | None) -> str:
    """A share whose ends are told apart: one row in ten thousand matters.

    >>> share(0.99999), share(1.0), share(0.97241), share(0.00001), share(None)
    ('>99.99 %', '100 %', '97.24 %', '<0.01 %', '-')
    """
    if value is None:
        return "-"
    if value in (0, 1):
        return f"{100 * value:.0f} %"
    return "<0.01 %" if value < 0.0001 else ">99.99 %" if value > 0.9999 else f"{100 * value:.2f} %"


def _microseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
