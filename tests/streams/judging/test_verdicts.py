"""What a verdict asks for is done once, whoever does it, and only while the control record still waits for it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.config import RolloutConfig
from penstock.schemas.control import Control, Decision
from penstock.schemas.gates import Look
from penstock.schemas.records import ModelRef
from penstock.streams.control.changes import promote, rollback, start_rollout, step
from penstock.streams.judging.verdicts import asked_for, carried_out, decided, is_due

OLD, NEW = ModelRef("delay", 1), ModelRef("delay", 2)
STAGES = (0.1, 0.5)


def running(mode: str = "automatic") -> Control:
    plan = RolloutConfig(stages=STAGES, mode=mode)  # type: ignore[arg-type]
    return start_rollout(Control("flights", 6, OLD, "", "", 0), NEW, plan=plan)


def look(verdict: str, stage: int = 0, *, baking: bool = False, rollout: str = "rollout-7") -> Look:
    return Look(rollout, NEW, OLD, stage, 0.1, 0, verdict, "Because.", baking=baking)  # type: ignore[arg-type]


def test_promotions_lead_through_the_stages_to_the_champion_and_to_the_end() -> None:
    control = running()
    for stage, baking, command in ((0, False, "canary step"), (1, False, "promote"), (1, True, "promote --finish")):
        seen = look("promote", stage, baking=baking)
        assert asked_for(seen, len(STAGES)) == command
        control = carried_out(seen, "flights")(control)
    assert (control.champion, control.previous, control.rollout) == (NEW, OLD, None)


@given(verdict=st.sampled_from(["promote", "rollback", "hold"]), stage=st.integers(0, 1), baking=st.booleans())
def test_what_was_carried_out_is_not_carried_out_again(verdict: str, stage: int, baking: bool) -> None:
    control = running() if not stage else step(running())
    control = promote(control) if baking else control
    change = carried_out(look(verdict, stage, baking=baking), "flights")
    once = change(control)
    assert (once is control) == (verdict == "hold")
    assert change(once) is once


@pytest.mark.parametrize("verdict", ["promote", "rollback"])
@pytest.mark.parametrize("mode", ["manual", "propose"])
def test_a_person_acts_where_the_plan_says_so(mode: str, verdict: str) -> None:
    assert not is_due(look(verdict), running(mode))


def test_another_rollout_is_left_alone() -> None:
    assert not is_due(look("rollback", rollout="rollout-3"), running())


def test_what_was_shown_to_be_worse_goes_at_a_later_stage_too() -> None:
    promoted = promote(step(running()))
    assert carried_out(look("rollback", 0), "flights")(promoted).champion == OLD


def test_what_a_person_undid_is_not_promoted() -> None:
    undone = rollback(running())
    assert carried_out(look("promote"), "flights")(undone) is undone


@pytest.mark.parametrize(("mode", "proposed"), [("automatic", False), ("propose", True), ("manual", False)])
def test_the_trail_says_what_is_proposed(mode: str, proposed: bool) -> None:
    key, value, headers = decided(look("promote"), running(mode), time=1_357_034_400_000)
    decision = msgspec.json.decode(value or b"", type=Decision)
    assert (key, dict[str, Any](headers)) == (b"flights", {"penstock-schema": b"decision/1"})
    assert (decision.command, decision.author, decision.revision) == ("look", "judge", 6)
    assert decision.look == look("promote")
    assert ("penstock canary step" in decision.reason) == proposed
