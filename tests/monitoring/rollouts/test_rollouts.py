"""Histories of rollouts: what the judge concludes of a candidate that is good, bad, or too little known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rollouts import DAY, NEW, OLD, START, Message, World

from penstock.monitoring.config import LabelsConfig, RolloutConfig
from penstock.monitoring.rollouts.judge import RolloutJudge, UnreadableRollouts
from penstock.schemas.comparison import ComparisonSummary
from penstock.schemas.control import Control
from penstock.schemas.gates import Evidence, Look
from penstock.schemas.operations import OperationalReading
from penstock.schemas.quality import QualitySummary
from penstock.streams.control.changes import start_rollout, start_shadow, step
from penstock.streams.judging.verdicts import carried_out

PLAN = RolloutConfig(
    stages=(0.05, 0.5, 1.0), mode="automatic", margin=0.02, min_rows=500, min_clusters=3, bake_s=3 * 86_400
)
LABELS = LabelsConfig(bucket_s=86_400, maturity_s=86_400)


def tell(judge: RolloutJudge, message: Message) -> list[Look]:
    if isinstance(message, ComparisonSummary):
        return judge.comparison(message)
    if isinstance(message, QualitySummary):
        return judge.quality(message)
    return judge.operations(message)


def before() -> Control:
    return Control("flights", 1, OLD, "test", "", 0)


def begun(plan: RolloutConfig = PLAN) -> Control:
    return msgspec.structs.replace(start_rollout(before(), NEW, plan=plan), revision=2)


def history(
    world: World, days: int, *, plan: RolloutConfig = PLAN, control: Control | None = None, killed_after: int = -1
) -> Iterator[tuple[int, Look, Control]]:
    """Each look with its day and what the control record is after it, where its verdicts are carried out at once.

    The judge that has heard `killed_after` messages is killed, and another goes on from its snapshot.
    """
    control = control or begun(plan)
    judge, heard = RolloutJudge(plan, LABELS), 0
    judge.follow(before())
    judge.follow(control)
    for day in range(days):
        for message in world.next_day(control):
            if heard == killed_after:
                snapshot = judge.snapshot()
                judge = RolloutJudge(plan, LABELS)
                judge.restore(snapshot)
                judge.follow(control)
            heard += 1
            for look in tell(judge, message):
                after = carried_out(look, "flights")(control)
                if after is not control:
                    control = world.control = msgspec.structs.replace(after, revision=control.revision + 1)
                    judge.follow(control)
                yield day, look, control


def story(looks: Iterator[tuple[int, Look, Control]]) -> list[str]:
    """Verdicts other than hold, in words."""
    return [
        f"{look.verdict}{' (bake)' if look.baking else f' at {look.share:g}'}"
        for _, look, _ in looks
        if look.verdict != "hold"
    ]


def test_a_good_candidate_goes_through_all_stages_and_stays() -> None:
    seen = list(history(World(worse=-0.05), 20))
    assert story(iter(seen)) == ["promote at 0.05", "promote at 0.5", "promote at 1", "promote (bake)"]
    last = seen[-1][2]
    assert (last.champion, last.previous, last.rollout, last.shadows) == (NEW, OLD, None, ())


def test_each_stage_waits_for_a_whole_bucket_of_its_own_and_the_bake_for_its_time() -> None:
    steps = [day for day, look, _ in history(World(worse=-0.05), 20) if look.verdict == "promote"]
    first, second, third, last = steps
    assert first >= 2  # min_clusters
    assert second - first >= 1
    assert third - second >= 1
    assert last - third >= 3  # bake_s


def test_a_stage_lasts_as_long_as_the_plan_says() -> None:
    plan = replace(PLAN, stage_s=4 * 86_400.0)
    seen = list(history(World(worse=-0.05), 20, plan=plan))
    [first, second, *_] = [day for day, look, _ in seen if look.verdict == "promote"]
    assert second - first >= 4
    assert any("the stage lasts 4 days" in look.reason for _, look, _ in seen)


def test_a_bad_candidate_is_rolled_back_at_its_first_stage() -> None:
    seen = list(history(World(worse=0.1), 10))
    assert story(iter(seen)) == ["rollback at 0.05"]
    _, look, control = seen[-1]
    assert (control.champion, control.rollout, control.experiments) == (OLD, None, ())
    assert "worse" in look.reason


def test_great_harm_is_seen_before_a_bucket_has_matured() -> None:
    world = World(worse=0.5, segments=30)
    day, look, _ = next(history(world, 10))
    assert (day, look.verdict) == (0, "rollback")
    assert {evidence.test for evidence in look.evidence if evidence.verdict == "rollback"} == {"fast"}
    assert look.watermark < START + DAY


def test_little_evidence_holds() -> None:
    seen = list(history(World(worse=-0.05, rows=4), 10))
    assert seen
    assert {look.verdict for _, look, _ in seen} == {"hold"}


def test_a_look_comes_with_each_bucket_and_only_then() -> None:
    looks = [look for _, look, _ in history(World(worse=0.01), 6)]
    assert [(look.watermark - START) // DAY for look in looks] == [1, 2, 3, 4, 5, 6]


def test_a_plan_that_begins_with_nobody_is_shadow_alone_and_goes_by_paired_rows() -> None:
    plan = replace(PLAN, stages=(0.0, 0.5))
    seen = list(history(World(worse=-0.05), 4, plan=plan))
    [first, *_] = [look for _, look, _ in seen if look.verdict == "promote"]
    assert (first.share, {evidence.source for evidence in first.evidence}) == (0.0, {"paired"})


def test_what_a_shadow_has_shown_counts_when_its_rollout_begins() -> None:
    world, judge = World(worse=-0.05), RolloutJudge(PLAN, LABELS)
    shadowed = msgspec.structs.replace(start_shadow(before(), NEW), revision=2)
    judge.follow(shadowed)
    for _ in range(5):
        for message in world.next_day(shadowed):
            assert tell(judge, message) == []
    control = msgspec.structs.replace(start_rollout(shadowed, NEW, plan=PLAN), revision=3)
    judge.follow(control)
    first = [look for message in world.next_day(control) for look in tell(judge, message)]
    assert main(first[-1], "paired").clusters == 6


def main(look: Look, source: str) -> Evidence:
    [evidence] = [each for each in look.evidence if each.test == "main" and each.source == source]
    return evidence


@pytest.mark.parametrize(
    ("trouble", "guardrail"),
    [({"non_finite": 5}, "non_finite"), ({"failed": 20}, "dead_letters"), ({"slow": 200.0}, "latency")],
)
def test_a_candidate_that_breaks_a_guardrail_goes_whatever_its_loss(trouble: dict[str, float], guardrail: str) -> None:
    plan = replace(PLAN, min_clusters=30, stages=(0.5, 1.0))
    seen = list(history(World(worse=-0.05, **trouble), 10, plan=plan))  # type: ignore[arg-type]
    [look] = [look for _, look, _ in seen if look.verdict == "rollback"]
    assert [one.name for one in look.guardrails if not one.held] == [guardrail]
    assert guardrail in look.reason


def test_labels_that_come_to_the_candidate_alone_hold_the_rollout() -> None:
    seen = list(history(World(worse=-0.05, labelled=0.6), 8, plan=replace(PLAN, stages=(0.5, 1.0))))
    assert story(iter(seen)) == []
    assert "labelled_share" in seen[-1][1].reason


def test_a_slice_that_does_worse_rolls_back() -> None:
    plan = replace(PLAN, slices=("origin",))
    world = World(worse=-0.05, slices={"origin=JFK": 0.2, "origin=LGA": -0.1})
    [*_, (_, look, _)] = history(world, 10, plan=plan)
    assert look.verdict == "rollback"
    assert "origin=JFK" in look.reason


def test_a_sensitive_slice_is_named_without_its_value() -> None:
    plan, world = replace(PLAN, slices=("income",)), World(slices={"income=high": 0.2})
    judge = RolloutJudge(plan, LABELS, sensitive=frozenset({"income"}))
    judge.follow(begun(plan))
    looks = [look for _ in range(4) for message in world.next_day(begun(plan)) for look in tell(judge, message)]
    said = msgspec.json.encode(looks)
    assert b"income=(not shown)" in said
    assert b"high=" not in said
    assert b"income=high" not in said


def test_a_new_champion_that_turns_worse_while_it_bakes_goes() -> None:
    world = World(worse=-0.05)
    plan = replace(PLAN, bake_s=30 * 86_400.0)
    for _, look, control in history(world, 30, plan=plan):
        if control.rollout is not None and control.rollout.baking:
            world.worse = 0.035  # too little for the fast test
        if look.verdict == "rollback":
            break
    assert (look.baking, control.champion, control.rollout) == (True, OLD, None)
    assert main(look, "paired").difference == pytest.approx(0.035, abs=0.01)


def test_good_months_do_not_hide_a_bad_season_while_it_bakes() -> None:
    world = World(worse=-0.05)
    plan = replace(PLAN, bake_s=100 * 86_400.0)
    turned = 0
    for day, look, control in history(world, 80, plan=plan):
        if look.verdict == "rollback":
            break
        if control.rollout is not None and control.rollout.baking and day >= 60:
            turned, world.worse = turned or day, 0.04
    assert (look.verdict, look.baking, control.champion) == ("rollback", True, OLD)
    assert day - turned <= 2 * 2 * plan.min_clusters, "it took no longer than two windows"


def test_a_new_champion_that_is_a_little_worse_stays() -> None:
    world = World(worse=-0.05)
    seen = []
    for each in history(world, 25):
        seen.append(each)
        if (rollout := each[2].rollout) is not None and rollout.baking:
            world.worse = 0.005  # within the margin
    _, look, control = seen[-1]
    assert (look.verdict, control.champion, control.rollout) == ("promote", NEW, None)


def test_in_automatic_mode_nothing_more_is_said_until_the_step_was_taken() -> None:
    judge, world = RolloutJudge(PLAN, LABELS), World(worse=-0.05)
    judge.follow(begun())
    looks = [look for _ in range(10) for message in world.next_day(begun()) for look in tell(judge, message)]
    assert [look.verdict for look in looks].count("promote") == 1
    assert judge.pending == looks[-1]
    judge.follow(msgspec.structs.replace(carried_out(looks[-1], "flights")(begun()), revision=3))
    assert judge.pending is None


@pytest.mark.parametrize("mode", ["manual", "propose"])
def test_a_person_is_told_again_with_each_bucket(mode: str) -> None:
    plan = replace(PLAN, mode=mode)  # type: ignore[arg-type]
    seen = list(history(World(worse=-0.05), 8, plan=plan))
    assert len({control.revision for _, _, control in seen}) == 1
    assert story(iter(seen)).count("promote at 0.05") > 3


def test_a_partition_that_lags_is_waited_for_and_a_silent_one_is_not() -> None:
    judge, control = RolloutJudge(PLAN, LABELS, idle_s=60), begun()
    judge.follow(control)
    messages = [each for each in World().next_day(control) if isinstance(each, QualitySummary)]
    lagging, quick = ([each for each in messages if each.partition == partition] for partition in (1, 0))
    judge.quality(lagging[0], written=0)
    assert not [look for each in quick for look in judge.quality(each, written=59_000)]
    [look] = judge.operations(OperationalReading("score", "a", 0, 10_000), written=60_000)
    assert look.watermark == START + DAY


def test_days_in_which_the_share_changed_are_left_out_of_what_each_served() -> None:
    plan = replace(PLAN, min_rows=10**6)  # nothing is concluded

    def days_compared(*, stepped_at: int) -> tuple[int, int]:
        judge, world, control = RolloutJudge(plan, LABELS), World(), begun(plan)
        judge.follow(control)
        for day in range(6):
            for at, message in enumerate(world.next_day(control)):
                if (day, at) == (2, stepped_at):
                    control = world.control = msgspec.structs.replace(step(control), revision=3)
                    judge.follow(control)
                if looks := tell(judge, message):
                    last = looks[-1]
        return main(last, "canary").clusters, main(last, "paired").clusters

    assert days_compared(stepped_at=18) == (5, 6)
    assert days_compared(stepped_at=-1) == (6, 6)


@settings(max_examples=12, deadline=None)
@given(killed_after=st.integers(0, 400), worse=st.sampled_from([-0.05, 0.05]))
def test_a_judge_that_was_killed_comes_to_the_same_looks(killed_after: int, worse: float) -> None:
    def looks(killed_after: int) -> list[Look]:
        return [look for _, look, _ in history(World(worse=worse), 12, killed_after=killed_after)]

    assert looks(killed_after) == looks(-1)


@settings(max_examples=10, deadline=None)
@given(repeated=st.sets(st.integers(0, 100)))
def test_what_comes_twice_counts_once(repeated: set[int]) -> None:
    def looks(repeated: set[int]) -> list[Look]:
        judge, world, control = RolloutJudge(PLAN, LABELS), World(worse=0.01), begun()
        judge.follow(control)
        messages = [m for _ in range(3) for m in world.next_day(control) if not hasattr(m, "worker")]
        return [
            look
            for at, message in enumerate(messages)
            for _ in range(1 + (at in repeated))
            for look in tell(judge, message)
        ]

    assert looks(repeated) == looks(set())


def test_losses_of_another_kind_are_not_mixed_in_after_a_restart() -> None:
    judge, world, control = RolloutJudge(PLAN, LABELS), World(), begun()
    judge.follow(control)
    for message in world.next_day(control):
        tell(judge, message)
    other = RolloutJudge(replace(PLAN, loss="brier"), LABELS)
    other.restore(judge.snapshot())
    [look] = [look for message in world.next_day(control) for look in tell(other, message)]
    assert [main(look, source).clusters for source in ("paired", "canary")] == [1, 1]


def test_a_shadow_without_a_rollout_does_not_grow_for_ever() -> None:
    judge, world = RolloutJudge(PLAN, LABELS), World(segments=1, partitions=1)
    shadowed = msgspec.structs.replace(start_shadow(before(), NEW), revision=2)
    judge.follow(shadowed)
    sizes = []
    for _ in range(900):
        for message in world.next_day(shadowed):
            tell(judge, message)
        sizes.append(len(judge.snapshot()) if world.day % 300 == 0 else 0)
    _, second, third = (size for size in sizes if size)
    assert third < 1.05 * second


def test_a_snapshot_of_something_else_is_refused() -> None:
    with pytest.raises(UnreadableRollouts):
        RolloutJudge(PLAN, LABELS).restore(b"nonsense")
