"""What the reliability suite holds to be broken: repeats beyond a commit interval of each kill, and any problem."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import reliability
from reliability_suite.counter import Counted
from reliability_suite.counting import Counts
from reliability_suite.figures import Blow
from reliability_suite.results import Result, result
from reliability_suite.stage import Outcome

EVERY_MS, EVENTS, INTERVAL_MS = 10, 2_000, 250.0
KILLS = [Blow("kill -9 of worker 0", 5_000.0, [0]), Blow("kill -9 of worker 0", 12_000.0, [0])]


def outcome(*, repeats: dict[int, int], said: int, mode: str = "at_least_once") -> Outcome:
    """An event each 10 ms on one partition; after event `number` the last `repeats[number]` come again."""
    counts, begun = Counts(partitions=1), 0
    for number, again in [*repeats.items(), (EVENTS - 1, 0)]:
        numbers = np.array([*range(begun, number + 1), *range(number + 1 - again, number + 1)])
        counts.predictions(0, numbers, np.append(numbers[: number + 1 - begun], [number] * again) * EVERY_MS)
        begun = number + 1
    counted = Counted(
        seen=EVENTS,
        predictions=EVENTS,
        dead_letters=0,
        times=[EVENTS * EVERY_MS],
        at_end=True,
        cpu_s=0.0,
        pauses=counts.pauses,
        repeats=counts.repeats,
        written=dict(counts.written),
        verdict=counts.verdict(EVENTS, np.zeros(EVENTS, bool)),
    )
    return Outcome(mode, 100, 1, counted, EVENTS, 0.0, 20_000.0, KILLS, 1.0, INTERVAL_MS, repeats=said)


def broken(seen: Result) -> list[str]:
    return [figure.name for figure in seen.figures if figure.mark == "BROKEN"]


@pytest.mark.parametrize(
    ("repeats", "said", "expected"),
    [
        ({600: 20, 1300: 20}, 40, []),
        ({600: 40}, 40, ["doubled, blow after blow"]),  # as much as both kills may together, and all of it by one
        ({1300: 60}, 60, ["doubled", "doubled, blow after blow"]),
        ({400: 5, 600: 10}, 15, ["doubled by no blow"]),
        ({600: 20}, 19, ["repeats that the workers counted"]),
    ],
)
def test_each_kill_may_repeat_a_commit_interval_and_the_workers_say_so(
    repeats: dict[int, int], said: int, expected: list[str]
) -> None:
    seen = result("kills", outcome(repeats=repeats, said=said), intervals=1)

    assert seen.doubled == sum(repeats.values())
    assert broken(seen) == expected
    assert seen.kept() == (not expected)


def test_nothing_may_come_again_exactly_once_or_where_nobody_was_killed() -> None:
    once = result("kills", outcome(repeats={600: 1}, said=1, mode="exactly_once"), intervals=1)
    stopped = result("rolling-restart", outcome(repeats={600: 1}, said=1))

    assert broken(once) == ["doubled", "out of order"]
    assert broken(stopped) == ["doubled"]


def test_a_run_fails_with_a_problem_and_with_a_scenario_that_breaks_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = result("kills", outcome(repeats={}, said=0, mode="exactly_once"))
    found: list[Result | Exception] = [good, replace(good, problems=["worker 0 crashed"]), RuntimeError("no broker")]

    def run(*_: object) -> Result:
        if isinstance(next_one := found.pop(0), Exception):
            raise next_one
        return next_one

    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process keeps its own
    kind = reliability.SCENARIOS["kills"]
    monkeypatch.setitem(reliability.SCENARIOS, "kills", type(kind)(run))
    once = ["kills", "--mode", "exactly_once", "--servers", "nowhere:1", "--logs", str(tmp_path)]
    assert [reliability.main(once) for _ in range(3)] == [0, 1, 1]
    printed = capsys.readouterr()
    assert printed.out.count("A promise is BROKEN.") == 2
    assert "BROKEN: RuntimeError: no broker" in printed.err


@pytest.mark.parametrize("scenario", reliability.SCENARIOS)
def test_every_scenario_is_wired_and_told(scenario: str) -> None:
    options, chosen = reliability.parse([scenario, "--short", "--mode", "exactly_once"])
    assert chosen.scenarios == [scenario]
    assert options.rounds == 1
    assert f"    {scenario:<18}" in (reliability.__doc__ or "")
    assert callable(reliability.SCENARIOS[scenario].run)


def test_a_scenario_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        reliability.parse(["kils"])
    assert "kils: none of kills, kill-storm" in capsys.readouterr().err
