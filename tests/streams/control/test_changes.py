"""Changes of the routing state: what holds in whatever order they are made, and what they say where they cannot be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.models.routing import check
from penstock.monitoring.config import RolloutConfig
from penstock.schemas.control import CANARY, Control, Experiment, Rule, Shadow
from penstock.schemas.records import ModelRef
from penstock.streams.control import changes
from penstock.streams.control.refusals import Refused

Step = Callable[[Control], Control]

PLAN = RolloutConfig(stages=(0.0, 0.1, 0.5, 1.0))
MODELS = [ModelRef("delay", version) for version in range(1, 6)]
ONE, TWO, THREE = MODELS[:3]

models = st.sampled_from(MODELS)
names = st.sampled_from(["price", "colour"])
shares = st.sampled_from([0.0, 0.2, 0.7, 1.0])
arms = st.dictionaries(st.sampled_from(["champion", "blue", "green"]), st.sampled_from([1.0, 2.0]), min_size=1)
variants = st.sampled_from(["champion", "canary", "blue", "fallback"])


def steps() -> st.SearchStrategy[Step]:
    """Any change that a person or the judge may ask for, whether it makes sense now or not."""
    return st.one_of(
        st.builds(lambda model: lambda c: changes.deploy(c, model), models),
        st.builds(lambda model, share: lambda c: changes.start_shadow(c, model, share), models, shares),
        st.builds(lambda model: lambda c: changes.stop_shadow(c, model), st.none() | models),
        st.builds(lambda model: lambda c: changes.start_rollout(c, model, plan=PLAN), models),
        st.sampled_from([changes.step, changes.stop_rollout, changes.promote, changes.finish, changes.rollback]),
        st.just(lambda c: changes.rollback(c, again=True)),
        st.builds(lambda model: lambda c: changes.set_fallback(c, model), st.none() | models),
        st.builds(lambda to, model: lambda c: changes.add_rule(c, Rule(f"to {to}", to, ("k",)), model),
                  variants, st.none() | models),
        st.builds(lambda to: lambda c: changes.remove_rule(c, f"to {to}"), variants),
        st.builds(lambda name, share, arms, model: lambda c: changes.start_experiment(
            c, Experiment(name, share, arms), {arm: model for arm in arms if arm != "champion"}),
            names, shares, arms, models),
        st.builds(lambda name: lambda c: changes.stop_experiment(c, name), names),
    )  # fmt: skip


def first() -> Control:
    return Control("flights", 1, ONE, "ada", "the first", 0)


def after(*steps: Step, control: Control | None = None) -> Control:
    """What the writers leave: each change that was not refused is one revision."""
    control = control or first()
    for step in steps:
        try:
            changed = step(control)
        except Refused:
            continue
        if changed != control:
            control = replace(changed, revision=control.revision + 1)
    return control


states = st.lists(steps(), max_size=12).map(lambda made: after(*made))
trials = st.builds(lambda state, model: after(lambda c: changes.start_rollout(c, model, plan=PLAN), control=state),
                   states, models).filter(lambda c: c.rollout is not None and not c.rollout.baking)  # fmt: skip


def canary_share(control: Control) -> float:
    return sum(experiment.share for experiment in control.experiments if CANARY in experiment.arms)


@given(states)
def test_whatever_was_done_the_workers_can_follow(control: Control) -> None:
    check(control)
    rollout = control.rollout
    assert [shadow.model for shadow in control.shadows if shadow.model == control.champion] == []
    assert len({shadow.model for shadow in control.shadows}) == len(control.shadows)
    assert control.previous != control.champion
    if rollout is None or rollout.baking:
        assert CANARY not in control.variants
        assert canary_share(control) == 0
    if rollout is not None and rollout.baking:
        assert (control.champion, control.previous) == (rollout.candidate, rollout.champion)
        assert Shadow(rollout.champion) in control.shadows
    if rollout is not None and not rollout.baking:
        assert (control.champion, control.variants[CANARY]) == (rollout.champion, rollout.candidate)
        assert canary_share(control) == rollout.share
        assert Shadow(rollout.candidate) in control.shadows


@given(states, steps())
def test_the_champion_that_is_replaced_can_come_back(control: Control, step: Step) -> None:
    changed = after(step, control=control)
    if changed.champion == control.champion:
        assert changed.previous == control.previous
    else:
        assert changed.previous == control.champion
        assert changes.rollback(changed, again=True).champion == control.champion


@given(states)
def test_who_rolls_back_what_was_rolled_back_a_moment_ago_is_refused(control: Control) -> None:
    once = after(changes.rollback, control=control)
    assert after(changes.rollback, control=once) == once


@given(states, steps())
def test_a_change_never_writes_into_the_state_it_was_given(control: Control, step: Step) -> None:
    before = replace(control, variants=dict(control.variants))
    after(step, control=control)
    assert control == before


@given(trials, st.integers(0, 3))
def test_rollback_of_a_rollout_leaves_what_was_there_before(control: Control, times: int) -> None:
    assert control.rollout is not None
    candidate = control.rollout.candidate
    back = changes.rollback(after(*[changes.step] * times, control=control))
    before = replace(
        control,
        revision=back.revision,
        rollout=None,
        variants={name: model for name, model in control.variants.items() if name != CANARY},
        experiments=tuple(each for each in control.experiments if CANARY not in each.arms),
        rules=tuple(rule for rule in control.rules if rule.variant != CANARY),
        shadows=tuple(shadow for shadow in control.shadows if shadow.model != candidate),
    )
    assert back == replace(before, rolled_back=candidate)


@given(trials)
def test_promoting_and_rolling_back_is_the_former_champion(control: Control) -> None:
    promoted = changes.promote(control)
    assert promoted.rollout is not None
    assert promoted.rollout.share == 1
    back = changes.rollback(promoted)
    assert (back.champion, back.previous, back.rollout) == (control.champion, promoted.champion, None)
    assert changes.rollback(changes.finish(promoted)).champion == control.champion


@given(trials)
def test_stepping_raises_the_share_until_everybody_has_the_candidate(control: Control) -> None:
    shares = [canary_share(control)]
    while shares[-1] < 1:
        control = changes.step(control)
        shares.append(canary_share(control))
    assert shares == sorted(set(shares))
    with pytest.raises(Refused, match="at the last of its stages, 100 % of the keys"):
        changes.step(control)


def test_a_stopped_canary_goes_on_in_shadow() -> None:
    stopped = after(lambda c: changes.start_rollout(c, TWO, plan=PLAN), changes.step, changes.stop_rollout)
    assert stopped == replace(first(), revision=4, shadows=(Shadow(TWO),))


def test_each_rollout_draws_its_keys_anew() -> None:
    once: tuple[Step, ...] = (lambda c: changes.start_rollout(c, TWO, plan=RolloutConfig()), changes.rollback)
    again = after(*once, once[0])
    assert [experiment.name for experiment in again.experiments] == ["rollout-4"]


def test_a_variant_stays_as_long_as_anything_leads_to_it() -> None:
    control = after(
        lambda c: changes.start_experiment(c, Experiment("price", 0.2, {"blue": 1.0}), {"blue": TWO}),
        lambda c: changes.add_rule(c, Rule("staff", "blue", keys=("ada",))),
        lambda c: changes.stop_experiment(c, "price"),
    )
    assert control.variants == {"blue": TWO}
    assert changes.remove_rule(control, "staff").variants == {}


def test_an_experiment_grows_where_it_stands() -> None:
    control = after(
        lambda c: changes.start_experiment(c, Experiment("price", 0.2, {"blue": 1.0}), {"blue": TWO}),
        lambda c: changes.start_experiment(c, Experiment("speed", 0.2, {"blue": 1.0})),
        lambda c: changes.set_share(c, "price", 0.5),
    )
    assert [(each.name, each.share) for each in control.experiments] == [("price", 0.5), ("speed", 0.2)]


def rolling(*more: Step) -> Control:
    return after(lambda c: changes.start_rollout(c, TWO, plan=PLAN), changes.step, *more)


@pytest.mark.parametrize(
    ("control", "step", "said"),
    [
        (first(), changes.step, "no rollout runs. Start one: penstock canary start MODEL."),
        (first(), changes.promote, "no rollout runs. Start one: penstock canary start MODEL."),
        (first(), changes.rollback, "delay@1 is the first champion of flights. Another model can be deployed: "),
        (
            after(lambda c: changes.deploy(c, TWO), changes.rollback),
            changes.rollback,
            "delay@2 has been rolled back, delay@1 answers. Nothing more is to do. To let delay@2 answer all the same",
        ),
        (first(), lambda c: changes.start_rollout(c, ONE, plan=PLAN), "it is the champion. Try another: "),
        (first(), lambda c: changes.start_shadow(c, TWO, 1.5), "a sample of 1.5 is no share of the keys."),
        (first(), lambda c: changes.stop_shadow(c, TWO), "it does not run. In shadow: none."),
        (first(), lambda c: changes.set_fallback(c, ONE), "it is the champion, and would fail where that fails."),
        (first(), lambda c: changes.add_rule(c, Rule("staff", "blue")), "there is no variant blue. Say which model"),
        (rolling(), changes.finish, "rollout-2 of delay@2 runs, at 10 % of the keys, and has not been promoted."),
        (rolling(), lambda c: changes.deploy(c, THREE), "rollout-2 of delay@2 runs, at 10 % of the keys. End it first"),
        (rolling(), lambda c: changes.stop_shadow(c, TWO), "rollout-2 compares it with the champion."),
        (rolling(), lambda c: changes.stop_experiment(c, "rollout-2"), "it is that of a rollout. End it first"),
        (
            after(
                lambda c: changes.start_experiment(c, Experiment("price", 0.5, {"blue": 1}), {"blue": THREE}),
                lambda c: changes.start_rollout(c, TWO, plan=PLAN),
            ),
            lambda c: changes.set_share(c, "price", 1.0),
            "it would have all the keys, and rollout-3 none. End it first",
        ),
        (first(), lambda c: changes.set_share(c, "price", 0.5), "there is none of that name. There are: none."),
        (rolling(changes.promote), changes.step, "promoted and baking. Keep delay@2 (penstock promote --finish), or"),
        (
            after(lambda c: changes.start_experiment(c, Experiment("price", 1.0, {"blue": 1}), {"blue": THREE})),
            lambda c: changes.start_rollout(c, TWO, plan=PLAN),
            "experiment price has all the keys, and the canary would get none. Stop it first: penstock experiment stop",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_do(control: Control, step: Step, said: str) -> None:
    with pytest.raises(Refused) as refused:
        step(control)
    assert said in str(refused.value)
