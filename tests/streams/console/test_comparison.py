"""A comparison on the screen: what a person reads at night, on any terminal."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from penstock.monitoring.comparison.figures import Figures, PairFigures
from penstock.streams.console.comparison import documents, show_comparison
from penstock.streams.console.rendering import to_json

MARCH = 1_362_096_000_000
DAY = 24 * 3_600_000

EVERY = Figures(
    rows=12_345, non_finite=0.0004, agreement=0.97241, served_yes=0.121, candidate_yes=0.1304, difference=0.0121,
    absolute=0.034, quantiles={"0.01": -0.2, "0.5": 0.0, "0.99": 0.31}, rank_correlation=0.9812, labelled=10_200,
    served={"log_loss": 0.4123, "auc": 0.71, "mean_score": 0.2, "base_rate": 0.21},
    candidate={"log_loss": 0.3981, "auc": 0.7, "mean_score": 0.21, "base_rate": 0.21},
    change={"log_loss": -0.0142, "auc": -0.01, "mean_score": 0.01, "base_rate": 0.0},
)  # fmt: skip
JFK = Figures(
    rows=200, agreement=0.9, labelled=100, served={"log_loss": 0.4}, candidate={"log_loss": 0.45},
    change={"log_loss": 0.05},
)  # fmt: skip
LGA = Figures(rows=3_000, agreement=0.99999)
FOUND = PairFigures(
    candidate_model="delay@4", served_model="delay@3", task="binary", buckets=(MARCH, MARCH + 7 * DAY), served_us=12.34,
    candidate_us=18.51, every=EVERY, slices={"origin=JFK": JFK, "origin=[red]\x1b[2J": LGA},
)  # fmt: skip

SCREEN = """\
delay@4 beside delay@3
12,345 rows, 10,200 with an outcome; time buckets 2013-03-01 00:00 to 2013-03-08 00:00 UTC
Its log loss is 0.3981, 3.4 % below the 0.4123 of the served model: better so far.
The two decide alike on 97.24 % of the rows.
It gave no finite score for 0.04 % of the rows.

                        served  candidate   change
log loss                0.4123     0.3981  -0.0142  better
AUC                     0.7100     0.7000  -0.0100  worse
mean score              0.2000     0.2100  +0.0100
rate of true outcomes   0.2100     0.2100
decides yes            12.10 %    13.04 %    +0.94
not finite                         0.04 %
µs per row                12.3       18.5    ×1.50

score - served score: mean +0.0121, mean size 0.034; rank correlation 0.981
 1 %  50 %   99 %
-0.2     0  +0.31

Log loss by slice, where the candidate is surest to be worse first
slice                served  candidate   change  with outcome     agree
origin=JFK           0.4000     0.4500  +0.0500           100   90.00 %  worse
origin=[red]\\x1b[2J       -          -        -             0  >99.99 %
"""


def shown(found: PairFigures, width: int = 100, slices: int = 10) -> str:
    file = io.StringIO()
    show_comparison(found, Console(file=file, width=width, highlight=False), slices=slices)
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def test_all_that_there_is_to_say_fits_one_screen() -> None:
    assert shown(FOUND) == SCREEN


@pytest.mark.parametrize("width", [60, 80])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    screen = shown(FOUND, width)
    assert max(map(len, screen.splitlines())) <= width
    assert "origin=JFK" in screen
    assert ("with outcome" in screen) == (width >= 72)


def test_before_labels_it_says_how_the_two_differ() -> None:
    every = Figures(rows=10, non_finite=0.0, agreement=1.0, difference=0.0, absolute=0.0, quantiles={"0.5": 0.0})
    found = PairFigures(
        candidate_model="delay@4", served_model="delay@3", task="binary", buckets=(MARCH, MARCH), served_us=None,
        candidate_us=3.0, every=every, slices={"origin=LGA": LGA},
    )  # fmt: skip
    screen = shown(found)
    assert "10 rows, no outcome known yet; time buckets 2013-03-01 00:00 UTC" in screen
    assert "The two decide alike on 100 % of the rows." in screen
    assert "By slice, where the two differ most first" in screen
    assert "log loss" not in screen


def test_a_candidate_that_always_fails_is_told_first() -> None:
    every = Figures(rows=10, non_finite=1.0)
    found = PairFigures(
        candidate_model="delay@4", served_model="delay@3", task="regression", buckets=(0, 0), served_us=None,
        candidate_us=None, every=every, slices={},
    )  # fmt: skip
    assert "It gave no finite score for 100 % of the rows." in shown(found)
    assert "served score" not in shown(found)


def test_slices_that_do_not_fit_are_counted() -> None:
    assert shown(FOUND, slices=1).endswith("and 1 slice more\n")


def test_a_program_gets_every_figure() -> None:
    [document] = json.loads(to_json(documents([FOUND])))
    assert document["candidate_model"] == "delay@4"
    assert document["every"]["change"]["log_loss"] == -0.0142
    assert document["every"]["quantiles"]["0.99"] == 0.31
    assert document["slices"]["origin=JFK"]["labelled"] == 100
