"""What was asked beside what was seen."""

from __future__ import annotations

import msgspec
from reliability_suite import figures
from reliability_suite.stage import Outcome


class Figure(msgspec.Struct, frozen=True):
    """`kept` is None where the figure depends on the machine: it is printed, and breaks no promise."""

    name: str
    asked: str
    seen: str
    kept: bool | None = None


class Result(msgspec.Struct, frozen=True):
    """A row of the table; `problems` are what should not happen whatever the figures."""

    scenario: str
    mode: str
    events: int
    predictions: int
    dead_letters: int
    lost: int
    doubled: int
    longest_pause_s: float
    figures: list[Figure]
    problems: list[str]

    @property
    def kept(self) -> bool:
        """Whether nothing that was promised is broken."""
        return all(figure.kept is not False for figure in self.figures)


def result(scenario: str, outcome: Outcome, *, may_double: int = 0, more: list[Figure] | None = None) -> Result:
    """`may_double`: so many outputs may have come again."""
    verdict = outcome.counted.verdict
    assert verdict is not None
    sent = verdict.events
    promises = [
        Figure("lost", "0", told(verdict.lost, verdict.lost_numbers), verdict.lost == 0),
        Figure(
            "doubled",
            f"≤ {may_double:,}",
            told(verdict.doubled, verdict.doubled_numbers),
            verdict.doubled <= may_double,
        ),
        Figure("misjudged", "0", f"{verdict.misjudged:,}", verdict.misjudged == 0),
        Figure("events on the topic", f"{sent:,}", f"{outcome.written_events:,}", outcome.written_events == sent),
    ]
    if outcome.mode == "at_least_once":
        promises.append(Figure("repeats that the workers counted", f"{verdict.doubled:,}", f"{outcome.repeats:,}"))
    if outcome.mode == "exactly_once":
        promises.append(Figure("out of order", "0", f"{verdict.disordered:,}", verdict.disordered == 0))
    return Result(
        scenario=scenario,
        mode=outcome.mode,
        events=sent,
        predictions=verdict.predictions,
        dead_letters=verdict.dead_letters,
        lost=verdict.lost,
        doubled=verdict.doubled,
        longest_pause_s=figures.longest_pause_s(outcome.counted.pauses, outcome.begun, outcome.ended),
        figures=promises + (more or []),
        problems=outcome.problems,
    )


def seconds(name: str, asked_s: float | None, seen_s: float) -> Figure:
    return Figure(name, "–" if asked_s is None else f"≤ {asked_s:g} s", f"{seen_s:.1f} s")


def told(count: int, numbers: list[int]) -> str:
    """
    >>> told(2, [41, 43])
    '2 (41, 43)'
    """
    return f"{count:,}" + (f" ({', '.join(map(str, numbers))}{', …' if count > len(numbers) else ''})" if count else "")
