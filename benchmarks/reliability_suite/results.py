"""What was asked beside what was seen."""

from __future__ import annotations

import msgspec
from reliability_suite import figures
from reliability_suite.counting import Verdict
from reliability_suite.stage import Outcome


class Figure(msgspec.Struct, frozen=True):
    """`kept` is None where nothing is asked.

    One that is not `promised` depends on the machine too: where it is not reached it is marked, and counts only if the
    run is strict.
    """

    name: str
    asked: str
    seen: str
    kept: bool | None = None
    promised: bool = True

    @property
    def mark(self) -> str:
        """
        >>> Figure("lost", "0", "3", kept=False).mark, Figure("pause", "≤ 1 s", "2 s", kept=False, promised=False).mark
        ('BROKEN', 'MISSED')
        >>> Figure("lost", "0", "0", kept=True).mark, Figure("longest stop", "–", "2 s").mark
        ('kept', '')
        """
        if self.kept is None:
            return ""
        return "kept" if self.kept else "BROKEN" if self.promised else "MISSED"


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

    def kept(self, *, strict: bool = False) -> bool:
        """Whether nothing that was promised is broken, and nothing happened that should not; `strict`: or was late.

        >>> late = Figure("pause", "≤ 1 s", "2.0 s", kept=False, promised=False)
        >>> result = Result("kills", "exactly_once", 9, 9, 0, 0, 0, 2.0, [late], [])
        >>> result.kept(), result.kept(strict=True)
        (True, False)
        >>> msgspec.structs.replace(result, figures=[], problems=["worker 0 crashed"]).kept()
        False
        """
        return not self.problems and not any(
            figure.kept is False for figure in self.figures if figure.promised or strict
        )


def result(scenario: str, outcome: Outcome, *, intervals: int = 0, more: list[Figure] | None = None) -> Result:
    """`intervals`: at least once, what was written in so many commit intervals may come again with each blow."""
    verdict = outcome.counted.verdict
    assert verdict is not None
    sent = verdict.events
    promises = [
        Figure("lost", "0", told(verdict.lost, verdict.lost_numbers), verdict.lost == 0),
        *doubled(outcome, verdict, intervals if outcome.mode == "at_least_once" else 0),
        Figure("misjudged", "0", f"{verdict.misjudged:,}", verdict.misjudged == 0),
        Figure("events on the topic", f"{sent:,}", f"{outcome.written_events:,}", outcome.written_events == sent),
    ]
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


def doubled(outcome: Outcome, verdict: Verdict, intervals: int) -> list[Figure]:
    """In total, after each blow, and against what the workers themselves said they repeat."""
    found = told(verdict.doubled, verdict.doubled_numbers)
    if not intervals:
        return [Figure("doubled", "0", found, verdict.doubled == 0)]
    limits = figures.may_repeat(outcome.blows, outcome.counted.written, intervals * outcome.commit_interval_ms)
    after = figures.repeated_after(outcome.blows, outcome.counted.repeats)
    so_far = figures.running_totals(after, limits)
    worst = max(range(len(limits)), key=lambda number: so_far[number][0] - so_far[number][1])
    mean = sum(after.values()) / max(1, sum(limit > 0 for limit in limits))
    return [
        Figure("doubled", f"≤ {sum(limits):,}", found, verdict.doubled <= sum(limits)),
        Figure("doubled by no blow", "0", f"{after[-1]:,}", after[-1] == 0),
        Figure(
            "doubled, blow after blow", f"≤ {so_far[worst][1]:,}",
            f"{so_far[worst][0]:,} after {worst + 1}; {mean:,.0f} a blow: {mean / outcome.rate:.2f} s of load",
            so_far[worst][0] <= so_far[worst][1],
        ),
        Figure(
            "repeats that the workers counted", f"≥ {verdict.doubled:,}", f"{outcome.repeats:,}",
            outcome.repeats >= verdict.doubled,
        ),
    ]  # fmt: skip


def failed(scenario: str, mode: str, error: Exception) -> Result:
    """Of a scenario that did not come to its end."""
    return Result(scenario, mode, 0, 0, 0, 0, 0, 0.0, [], [f"{type(error).__name__}: {error}"])


def seconds(name: str, asked_s: float | None, seen_s: float, more: str = "") -> Figure:
    """A time, which is the machine's too; `more` is what is told of it beside.

    >>> seconds("longest stop", None, 2.0).kept, seconds("longest stop", 1, 2.0).kept
    (None, False)
    """
    kept = None if asked_s is None else seen_s <= asked_s
    asked = "–" if asked_s is None else f"≤ {asked_s:g} s"
    return Figure(name, asked, f"{seen_s:.1f} s{more}", kept, promised=False)


def told(count: int, numbers: list[int]) -> str:
    """
    >>> told(2, [41, 43])
    '2 (41, 43)'
    """
    return f"{count:,}" + (f" ({', '.join(map(str, numbers))}{', …' if count > len(numbers) else ''})" if count else "")
