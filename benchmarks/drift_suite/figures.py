"""What a part hands back: figures with their goals and baselines; printed as tables, written as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich.table import Table

NEVER = math.inf
"""The delay of a change that is not found."""


class Goal(NamedTuple):
    """A bound that a figure is to keep."""

    sign: Literal["≤", "≥", "="]
    bound: float

    def reached(self, value: float) -> bool:
        match self.sign:
            case "≤":
                return value <= self.bound
            case "≥":
                return value >= self.bound
            case "=":
                return value == self.bound

    def __str__(self) -> str:
        return f"{self.sign} {shown(self.bound)}"


@dataclass(frozen=True)
class Figure:
    """One measure of Penstock beside others.

    others      contender → the same measure: always fire, never fire, River's ADWIN, …
    prototype   what the design's prototype reached, as text
    error       standard error of the mean, or None
    upper       upper 95 % confidence limit, or None; the goal holds for the value itself
    note        what a reader must know to read the value right
    """

    measure: str
    unit: str
    value: float
    goal: Goal | None = None
    others: Mapping[str, float] = field(default_factory=dict)
    prototype: str = ""
    error: float | None = None
    upper: float | None = None
    note: str = ""

    @property
    def reached(self) -> bool | None:
        return None if self.goal is None else self.goal.reached(self.value)


@dataclass(frozen=True)
class Options:
    """quick: sizes that only show that everything runs. data: the directory of the public files, if there is one."""

    quick: bool = False
    data: Path | None = None
    seed: int = 20_260_607

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full


class Cell(NamedTuple):
    """A piece of work for one process."""

    part: str
    title: str
    run: Callable[..., list[Figure]]
    arguments: tuple[Any, ...]


class MissingData(Exception):
    """A public file that was not given."""

    def __init__(self, file: str) -> None:
        super().__init__(f"{file} is not there; --data DIR names the directory that holds it")


def data_file(options: Options, name: str) -> Path:
    """Raises MissingData."""
    if options.data is None or not (options.data / name).is_file():
        raise MissingData(name)
    return options.data / name


def shown(value: float | None) -> str:
    """Three significant digits, thousands with a comma.

    >>> [shown(value) for value in (0.0421, 3812.4, 66.0, float("inf"), None)]
    ['0.0421', '3,812', '66', 'never', '']
    """
    if value is None:
        return ""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "never"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(title: str, figures: Sequence[Figure]) -> Table:
    others = list(dict.fromkeys(name for figure in figures for name in figure.others))
    printed = Table(title=title, title_justify="left")
    printed.add_column("measure")
    compared = any(figure.prototype for figure in figures)
    for heading in ("Penstock", "goal", "", *(["prototype"] if compared else []), *others):
        printed.add_column(heading, justify="right")
    printed.add_column("note")
    for figure in figures:
        value = shown(figure.value)
        if figure.error is not None:
            value += f" ± {shown(figure.error)}"
        if figure.upper is not None:
            value += f" (< {shown(figure.upper)})"
        mark = {None: "", True: "yes", False: "[bold red]no[/]"}[figure.reached]
        printed.add_row(
            f"{figure.measure}, {figure.unit}" if figure.unit else figure.measure,
            value,
            "" if figure.goal is None else str(figure.goal),
            mark,
            *([figure.prototype] if compared else []),
            *(shown(figure.others.get(name)) for name in others),
            figure.note,
        )
    return printed


def as_json(figure: Figure) -> dict[str, Any]:
    """JSON has no infinity: what is never found is null."""
    return {
        "measure": figure.measure,
        "unit": figure.unit,
        "value": _finite(figure.value),
        "goal": None if figure.goal is None else str(figure.goal),
        "reached": figure.reached,
        "others": {name: _finite(value) for name, value in figure.others.items()},
        "prototype": figure.prototype,
        "standard_error": None if figure.error is None else _finite(figure.error),
        "upper_limit": None if figure.upper is None else _finite(figure.upper),
        "note": figure.note,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
