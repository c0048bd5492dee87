"""Candidates on trial: where the replay waits for the judge, and what the trail tells afterwards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.monitoring.config import RolloutConfig
from penstock.schemas.control import Control, Decision
from penstock.schemas.gates import Evidence, Look, Verdict
from penstock.schemas.records import ModelRef
from penstock.streams.control.changes import finish, promote, rollback, start_rollout, step
from penstock.streams.demo.counterfactual import Counterfactual
from penstock.streams.demo.flights import HOUR_MS
from penstock.streams.demo.pauses import DAY_MS, FEWEST_RECORDS, NIGHT_MS, TRIAL_DAYS, Pauses
from penstock.streams.demo.story import Chapter, story

MARCH = 1_362_096_000_000
PLAN = RolloutConfig(stages=(0.0, 0.25), mode="automatic")
GOOD = ModelRef("delay", 2)


def decided(before: Control, after: Control, look: Look | None = None) -> Decision:
    reason = "Trained with all the weather." if look is None else look.reason
    return Decision("flights", before.revision + 1, "", "judge", reason, 0, before, after, look)


def look(verdict: Verdict, *, day: int, low: float = -0.05, high: float = 0.01) -> Look:
    paired = Evidence("main", "paired", "log_loss", verdict, 5_000, 20, 64, 0.02, 0.02, -0.02, low, high)
    few = Evidence("main", "canary", "log_loss", "hold", 9_000, 20, 64, 0.02, 0.02, -0.01, -0.3, 0.3)
    return Look("rollout-2", GOOD, ModelRef("delay", 1), 0, 0.0, MARCH + day * DAY_MS, verdict, "So.", (few, paired))


CHANGES: dict[str, Callable[[Control], Control]] = {
    "proposed": lambda control: start_rollout(control, GOOD, plan=PLAN),
    "stepped": step,
    "promoted": promote,
    "rolled back": rollback,
    "finished": finish,
}


def trail(*names: str) -> list[Decision]:
    """A champion, and what becomes of a candidate: each change follows from a look, and a look before it held."""
    control = Control("flights", 1, ModelRef("delay", 1), "", "", 0)
    decisions = [Decision("flights", 1, "use delay@1", "demo", "", 0, None, control)]
    for number, name in enumerate(names):
        before, seen = control, None
        if number:
            held = look("hold", day=9)
            decisions.append(Decision("flights", before.revision, "look", "judge", held.reason, 0, look=held))
            seen = look("rollback" if name == "rolled back" else "promote", day=20 + 5 * number)
        control = replace(CHANGES[name](before), revision=before.revision + 1)
        decisions.append(decided(before, control, seen))
    return decisions


def told(chapters: list[Chapter]) -> list[str]:
    return [f"{chapter.model} {chapter.what}" for chapter in chapters]


def test_the_story_is_each_change_of_a_rollout_and_leaves_looks_out() -> None:
    chapters = story(trail("proposed", "stepped", "promoted", "rolled back"), {2: MARCH})
    assert told(chapters) == ["delay@2 in shadow", "delay@2 answers 25 %", "delay@2 promoted", "delay@2 rolled back"]
    assert told(story(trail("proposed", "stepped", "promoted", "finished"), {}))[-1] == "delay@2 promoted for good"


def test_a_decision_stands_when_the_labels_had_come_with_the_comparison_that_led_to_it() -> None:
    proposed, stepped, *_ = story(trail("proposed", "stepped"), {2: MARCH})
    assert (proposed.time, proposed.difference) == (MARCH, None)
    assert stepped.time == MARCH + 26 * DAY_MS
    assert (stepped.source, stepped.rows, stepped.low, stepped.high) == ("paired", 5_000, -0.05, 0.01)


def test_a_rollout_that_the_year_cuts_short_ends_undecided() -> None:
    decisions = trail("proposed")
    held = look("hold", day=300)
    decisions.append(Decision("flights", 2, "look", "judge", held.reason, 0, look=held))
    assert told(story(decisions, {})) == ["delay@2 in shadow", "delay@2 undecided"]


@given(
    gaps=st.lists(st.integers(1, 5 * HOUR_MS), min_size=1_000, max_size=1_001),
    days=st.integers(2, 30),
    records=st.integers(1, 800),
)
def test_a_replay_waits_at_night_where_there_is_something_to_judge(gaps: list[int], days: int, records: int) -> None:
    times = MARCH + np.cumsum(gaps)
    pauses, at = Pauses(times, first_days=days, first_records=records), 0
    while (pause := pauses.after(at, 0, baking=False)) is not None:
        assert at + FEWEST_RECORDS <= pause.cut <= pause.resume < len(times)
        assert pause.cut >= records
        assert times[pause.cut] - times[0] >= days * DAY_MS
        assert times[pause.cut] - times[at] >= TRIAL_DAYS * DAY_MS
        night = (times[pause.cut - 1] - NIGHT_MS) // DAY_MS
        assert night < (times[pause.cut] - NIGHT_MS) // DAY_MS, "a night lies between the two"
        at = pause.resume


def test_what_a_fault_cost_is_said_of_the_model_that_answered() -> None:
    scores = {1: np.array([0.1, 0.2, 0.3]), 2: np.array([0.7, 0.8, 0.9])}
    otherwise = Counterfactual(scores[1], np.zeros(3), scores)
    np.testing.assert_array_equal(otherwise.unspoilt(np.array([2, 0, 1])), [0.7, np.nan, 0.3])
