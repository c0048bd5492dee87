"""Decisions as people and programs get to see them."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from penstock.monitoring.config import RolloutConfig
from penstock.schemas.control import Control, Decision, Experiment, Rule, Staging
from penstock.schemas.gates import Evidence, Look, Verdict
from penstock.schemas.records import ModelRef
from penstock.streams.console.decisions import (
    changed,
    control_document,
    decision_document,
    history_row,
    main_evidence,
    trail_row,
)
from penstock.streams.control import changes

ONE, TWO = (ModelRef("delay", version) for version in (1, 2))
FIRST = Control("flights", 1, ONE, "ada", "the first", 1_357_034_400_000)
TRIED = replace(changes.start_rollout(FIRST, TWO, plan=RolloutConfig()), revision=2)


def evidence(test: str, difference: float | None, *, verdict: Verdict = "hold") -> Evidence:
    known: dict[str, Any] = {} if difference is None else {"low": difference - 0.01, "high": difference + 0.01}
    return Evidence(test, "paired", "log_loss", verdict, 4200, 9, 60, 0.005, 0.025, difference, **known)


LOOK = Look("rollout-2", TWO, ONE, 1, 0.05, 0, "promote", "better beyond doubt", (evidence("main", -0.02),))


def decided(control: Control, **more: Any) -> Decision:
    return Decision("flights", control.revision, "canary step", "ada@lab", "calm days", FIRST.time, **more)


def test_a_change_says_what_it_changed() -> None:
    stepped = changes.step(TRIED)
    assert list(changed(FIRST, TRIED)) == ["canary none → delay@2 1 %", "shadow delay@2 none → 100 %"]
    assert list(changed(TRIED, stepped)) == ["canary delay@2 1 % → delay@2 5 %"]
    assert list(changed(stepped, changes.promote(stepped))) == [
        "champion delay@1 → delay@2",
        "canary delay@2 5 % → delay@2 promoted, baking",
        "shadow delay@2 100 % → none",
        "shadow delay@1 none → 100 %",
    ]
    ruled = changes.add_rule(FIRST, Rule("staff", "blue", ("a", "b"), "origin", ("JFK", "LGA")), TWO)
    assert list(changed(FIRST, ruled)) == ["blue none → delay@2", "rule staff none → blue (2 keys, origin JFK|LGA)"]
    tested = changes.start_experiment(FIRST, Experiment("price", 0.2, {"champion": 1, "blue": 1}), {"blue": TWO})
    assert list(changed(FIRST, tested)) == ["blue none → delay@2", "experiment price none → 20 % (blue, champion)"]


def test_a_row_of_the_history_says_who_did_what_and_why() -> None:
    assert history_row(decided(changes.step(TRIED), before=TRIED, after=changes.step(TRIED))) == [
        "2", "2013-01-01 10:00:00", "ada@lab", "canary step; canary delay@2 1 % → delay@2 5 %", "calm days",
    ]  # fmt: skip


def test_a_look_is_shown_with_its_difference_and_bounds_against_the_margin() -> None:
    assert trail_row(decided(TRIED, look=LOOK)) == [
        "2013-01-01 10:00:00", "rollout-2, stage 2, 5 %", "promote",
        "-0.0200 [-0.0300, -0.0100] against 0.005 of log_loss, paired", "4,200", "better beyond doubt",
    ]  # fmt: skip


def test_a_change_that_a_look_led_to_is_shown_with_its_figures() -> None:
    row = trail_row(decided(changes.step(TRIED), before=TRIED, after=changes.step(TRIED), look=LOOK))
    assert row[2:5:2] == ["canary step", "4,200"]
    assert row[5] == "canary delay@2 1 % → delay@2 5 %, by ada@lab: calm days"


def test_of_a_staging_it_is_shown_what_did_not_hold() -> None:
    checks = (("the golden rows agree", True), ("it answers within 20 ms", False))
    row = trail_row(decided(FIRST, staging=Staging(TWO, "5f0c", passed=False, checks=checks)))
    assert row[1:] == ["delay@2, staging", "not passed", "", "", "it answers within 20 ms"]
    assert trail_row(decided(FIRST, staging=Staging(TWO, "5f0c", passed=True, look=LOOK)))[2] == "staged"


def test_the_main_test_is_shown_before_the_others() -> None:
    main, fast = evidence("main", 0.1), evidence("fast", 0.2)
    unknown = evidence("main", None)
    assert main_evidence(replace(LOOK, evidence=(fast, unknown, main))) == main
    assert main_evidence(replace(LOOK, evidence=(fast, unknown))) == unknown
    assert main_evidence(replace(LOOK, evidence=())) is None


def test_programs_get_models_by_name_and_every_part_of_the_state() -> None:
    document = control_document(TRIED)
    assert document.keys() == set(Control.__struct_fields__)
    assert (document["champion"], document["previous"], document["variants"]) == (
        "delay@1",
        None,
        {"canary": "delay@2"},
    )
    assert (document["rollout"]["candidate"], document["rollout"]["share"]) == ("delay@2", 0.01)
    told = decision_document(decided(TRIED, before=FIRST, after=TRIED))
    assert told["changed"][0] == "canary none → delay@2 1 %"
    assert told["after"]["shadows"] == [{"model": "delay@2"}]


def test_what_people_typed_cannot_draw_on_the_screen() -> None:
    row = trail_row(replace(decided(FIRST, after=FIRST), reason="\x1b[2J"))
    assert "\x1b" not in "".join(row)
