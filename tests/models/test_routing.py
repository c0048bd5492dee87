"""Who goes where: shares are met, nobody is moved who need not be, and one experiment knows nothing of another."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray

from penstock.models.routing import InvalidControl, Routing, check, explain
from penstock.schemas.columns import MISSING_INTEGER, Category, Columns, Layout
from penstock.schemas.control import Control, Experiment, Rollout, Rule, Shadow
from penstock.schemas.keys import hash_keys, points, routing_keys
from penstock.schemas.records import ModelRef

KEYS = [f"flight-{number}".encode() for number in range(20_000)]
HASHES = hash_keys(KEYS, len(KEYS))
NOTHING = Columns.missing(Layout(), len(KEYS))
VARIANTS = {name: ModelRef("delay", version) for version, name in enumerate("abc", start=2)}
LAYOUT = Layout(floats=("distance",), integers=("hour", "night"), categories=("origin",))
FIVE_SIGMA = 5.0

names = st.text("abcdefghij-0123456789", min_size=1, max_size=8)
shares = st.floats(0, 1)
weights = st.floats(0.1, 10)
arms = st.dictionaries(st.sampled_from(["champion", *VARIANTS]), weights, min_size=1)


def control(*experiments: Experiment, rules: Sequence[Rule] = (), **more: Any) -> Control:
    return Control(
        "flights", 7, ModelRef("delay", 1), "ada", "", 0,
        variants=VARIANTS, rules=tuple(rules), experiments=experiments, **more,
    )  # fmt: skip


def answers(asked: Control, hashes: NDArray[np.uint64] = HASHES, columns: Columns = NOTHING) -> NDArray[np.str_]:
    """The variant of each row."""
    routing = Routing(asked)
    return np.array(routing.variants)[routing.route(hashes, columns)]


def is_share(found: NDArray[np.bool_], share: float) -> bool:
    return bool(abs(found.mean() - share) <= FIVE_SIGMA * sqrt(share * (1 - share) / len(found)) + 1e-9)


def are_independent(left: NDArray[np.bool_], right: NDArray[np.bool_]) -> bool:
    """By Pearson's chi² of the two-by-two table, 1 degree of freedom: 25 is five sigma."""
    seen = np.array([[np.sum((left == i) & (right == j)) for j in (False, True)] for i in (False, True)])
    expected = seen.sum(1, keepdims=True) * seen.sum(0, keepdims=True) / seen.sum()
    return bool(((seen - expected) ** 2 / expected).sum() <= FIVE_SIGMA**2)


# Experiments


@given(name=names, share=shares)
def test_a_share_of_the_keys_takes_part(name: str, share: float) -> None:
    assert is_share(answers(control(Experiment(name, share, {"a": 1.0}))) == "a", share)


@given(name=names, arms=arms)
def test_arms_are_given_their_weights(name: str, arms: dict[str, float]) -> None:
    found = answers(control(Experiment(name, 1.0, arms)))

    assert all(is_share(found == arm, weight / sum(arms.values())) for arm, weight in arms.items())


@given(name=names, arms=arms, two=st.tuples(shares, shares).map(sorted))
@example(name="price", arms={"a": 1.0, "b": 2.0, "c": 1.0}, two=[0.01, 0.5])
def test_a_greater_share_moves_no_key_off_its_arm(name: str, arms: dict[str, float], two: list[float]) -> None:
    less, more = (answers(control(Experiment(name, share, arms))) for share in two)

    had_an_arm = less != "champion"
    assert (more[had_an_arm] == less[had_an_arm]).all()


def test_the_order_in_which_arms_are_written_does_not_matter() -> None:
    """A record is written again by whoever changes it, and JSON does not say in which order."""
    one, other = (answers(control(Experiment("x", 1.0, arms))) for arms in ({"a": 1.0, "b": 2.0}, {"b": 2.0, "a": 1.0}))

    assert (one == other).all()


def test_the_control_group_stays_the_control_group() -> None:
    """`champion` as an arm looks like no arm at all: those who have it must not get another as the share grows."""
    experiment = Experiment("price", 1.0, {"champion": 1.0, "a": 1.0})
    everybody = answers(control(experiment))

    for share in (0.01, 0.05, 0.25, 0.5):
        takes_part = points(HASHES, "price") < np.uint64(int(share * 2**64))
        assert (answers(control(replace(experiment, share=share)))[takes_part] == everybody[takes_part]).all()


@given(one=names, other=names, share=st.floats(0.1, 0.9))
def test_experiments_know_nothing_of_each_other(one: str, other: str, share: float) -> None:
    assume(one != other)
    left, right = (answers(control(Experiment(name, share, {"a": 1.0}))) == "a" for name in (one, other))

    assert are_independent(left, right)
    correlation = np.corrcoef(points(HASHES, one).astype(float), points(HASHES, other).astype(float))[0, 1]
    assert abs(correlation) <= FIVE_SIGMA / sqrt(len(KEYS))


@given(name=names, share=st.floats(0.1, 0.9))
def test_the_arm_of_a_key_knows_nothing_of_when_it_came_in(name: str, share: float) -> None:
    first_to_come = points(HASHES, name) < np.uint64(int(share * 2**64))
    arm = answers(control(Experiment(name, 1.0, {"a": 1.0, "b": 1.0}))) == "a"

    assert are_independent(first_to_come, arm)


def test_the_first_experiment_that_draws_a_key_has_it() -> None:
    first, second = Experiment("first", 0.5, {"a": 1.0}), Experiment("second", 0.5, {"b": 1.0})
    drawn = answers(control(first)) == "a"

    both = answers(control(first, second))

    assert (both[drawn] == "a").all()
    assert is_share(both[~drawn] == "b", 0.5)


def test_no_version_sends_a_key_elsewhere() -> None:
    asked = control(Experiment("rollout-3", 0.25, {"a": 1.0}), Experiment("price", 0.5, {"b": 2.0, "c": 1.0}))

    assert "".join(variant[-1] for variant in answers(asked)[:40]) == "ncananancnnnabcnaanannannbbnbbbnanbnaanb"


# Rules


@pytest.fixture
def columns() -> Columns:
    """Five rows; the last one lacks everything."""
    return Columns(
        LAYOUT,
        np.array([[1.0], [2.0], [3.0], [4.0], [np.nan]], np.float32),
        np.array([[6, 0], [7, 1], [8, 0], [6, 1], [MISSING_INTEGER, MISSING_INTEGER]]),
        (Category(np.array([0, 1, 2, 1, -1], np.int32), ("JFK", "LGA", "EWR")),),
        (),
    )


@pytest.mark.parametrize(
    ("feature", "values", "rows"),
    [
        ("origin", ["LGA"], [1, 3]),
        ("origin", ["LGA", "EWR", "ORD"], [1, 2, 3]),
        ("hour", ["6"], [0, 3]),
        ("hour", ["six", "7"], [1]),
        ("hour", [str(MISSING_INTEGER), "9" * 19], []),
        ("night", ["true"], [1, 3]),
        ("night", ["false", "true"], [0, 1, 2, 3]),
        ("distance", ["1.0", "1"], []),
        ("gate", ["A1"], []),
    ],
)
def test_a_rule_by_a_feature(columns: Columns, feature: str, values: list[str], rows: list[int]) -> None:
    rule = Rule("flag", "a", feature=feature, values=tuple(values))

    assert np.flatnonzero(answers(control(rules=[rule]), HASHES[:5], columns) == "a").tolist() == rows


def test_a_rule_by_keys_takes_these_and_no_other() -> None:
    listed = [f"flight-{number}" for number in (0, 7, 300)]

    assert np.flatnonzero(answers(control(rules=[Rule("staff", "a", keys=(*listed, "else"))])) == "a").tolist() == [
        0, 7, 300,
    ]  # fmt: skip


def test_a_rule_by_keys_and_a_feature_wants_both(columns: Columns) -> None:
    rule = Rule("staff at LGA", "a", keys=("flight-0", "flight-3"), feature="origin", values=("LGA",))

    assert answers(control(rules=[rule]), HASHES[:5], columns).tolist() == [*["champion"] * 3, "a", "champion"]


def test_an_event_without_a_key_goes_by_its_id() -> None:
    hashes = routing_keys([None, b"flight-1"], ["flight-0", "flight-0"], 2)

    assert answers(control(rules=[Rule("one", "a", keys=("flight-0",))]), hashes).tolist() == ["a", "champion"]


def test_rules_come_before_shares_and_the_first_before_the_second() -> None:
    rules = [Rule("spared", "champion", keys=("flight-1",)), Rule("staff", "b", keys=("flight-1", "flight-2"))]

    found = answers(control(Experiment("all", 1.0, {"a": 1.0}), rules=rules))

    assert found[:4].tolist() == ["a", "champion", "b", "a"]


# Whole windows


@st.composite
def routings(draw: st.DrawFn) -> Control:
    targets = st.sampled_from(["champion", *VARIANTS])
    keys = st.lists(st.integers(0, 50).map("flight-{}".format), max_size=3).map(tuple)
    features = st.sampled_from([
        ("origin", ("LGA", "ORD")), ("hour", ("6", "none")), ("night", ("true",)), ("gate", ("A1",)), (None, ()),
    ])  # fmt: skip
    rules = [Rule(f"rule {i}", draw(targets), draw(keys), *draw(features)) for i in range(draw(st.integers(0, 3)))]
    drawn = draw(st.lists(st.builds(Experiment, names, shares, arms), max_size=3, unique_by=lambda each: each.name))
    return control(*drawn, rules=rules)


@st.composite
def windows(draw: st.DrawFn) -> tuple[list[bytes], Columns]:
    rows = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 1_000)))
    integers = np.column_stack([rng.integers(5, 8, rows), rng.integers(0, 2, rows)])
    integers[rng.random((rows, 2)) < 0.2] = MISSING_INTEGER
    origins = Category(rng.integers(-1, 3, rows).astype(np.int32), ("JFK", "LGA", "EWR"))
    keys = [KEYS[number] for number in rng.integers(0, 200, rows)]
    return keys, Columns(LAYOUT, np.zeros((rows, 1), np.float32), integers, (origins,), ())


@given(asked=routings(), window=windows())
def test_each_row_goes_where_its_explanation_says(asked: Control, window: tuple[list[bytes], Columns]) -> None:
    keys, columns = window

    explained = [explain(asked, key, columns.take(slice(row, row + 1))) for row, key in enumerate(keys)]

    assert answers(asked, hash_keys(keys, len(keys)), columns).tolist() == [each.variant for each in explained]
    assert all(each.model == asked.model_of(each.variant) for each in explained)


@given(asked=routings(), window=windows(), cut=st.integers(0, 60), seed=st.integers(0, 9))
def test_neighbours_do_not_matter(asked: Control, window: tuple[list[bytes], Columns], cut: int, seed: int) -> None:
    keys, columns = window
    hashes = hash_keys(keys, len(keys))
    whole = answers(asked, hashes, columns)

    parts = [answers(asked, hashes[part], columns.take(part)) for part in (slice(cut), slice(cut, None))]
    order = np.random.default_rng(seed).permutation(len(keys))

    assert np.concatenate(parts).tolist() == whole.tolist()
    assert answers(asked, hashes[order], columns.take(order)).tolist() == whole[order].tolist()


def test_only_the_champion_can_answer_where_nothing_leads_elsewhere() -> None:
    nobody = Experiment("none", 0.0, {"a": 1.0})
    assert Routing(control(nobody)).sole
    assert Routing(control(nobody)).variants == ("champion",)

    routing = Routing(control(nobody, Experiment("half", 0.5, {"c": 1.0, "b": 1.0}), rules=[Rule("r", "a")]))
    assert not routing.sole
    assert routing.variants == ("champion", "a", "b", "c")


def test_an_explanation_names_what_took_the_event() -> None:
    asked = control(Experiment("price", 1.0, {"a": 1.0, "b": 3.0}), rules=[Rule("dawn", "c", (), "hour", ("5", "6"))])

    told = explain(asked, b"flight-1", None)

    assert (told.rule, told.experiment, told.share) == (None, "price", 1.0)
    assert told.point is not None
    assert 0 <= told.point < 1
    assert str(told).splitlines() == [
        "Rule dawn does not fit: it is for hour 5 or 6, and hour is unknown here.",
        f"Experiment price takes it: its point {told.point:.6f} is below the share 1.",
        "A second draw gives it the arm b, which has a weight of 3 of 4.",
        "So it goes to b, delay@3.",
    ]


# What is refused


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (control(Experiment("x", 1.5, {"a": 1.0})), "share of experiment x is 1.5"),
        (control(Experiment("x", float("nan"), {"a": 1.0})), "share of experiment x is nan"),
        (control(Experiment("x", 0.5, {})), "arms of experiment x is none"),
        (control(Experiment("x", 0.5, {"a": 0.0})), "weight of arm a of experiment x is 0"),
        (control(Experiment("x", 0.5, {"a": float("inf")})), "weight of arm a of experiment x is inf"),
        (control(Experiment("x", 0.5, {"a": 1e308, "b": 1e308})), "sum of weights of experiment x is infinite"),
        (control(Experiment("x", 0.5, {"d": 1.0})), "arm of experiment x is 'd'"),
        (control(Experiment("x", 0.5, {"fallback": 1.0}), fallback=ModelRef("s", 1)), "arm of experiment x is"),
        (control(Experiment("x", 0.5, {"a": 1.0}), Experiment("x", 0.1, {"a": 1.0})), "names of experiments"),
        (control(Experiment("x/arms", 0.5, {"a": 1.0})), "name of an experiment is 'x/arms'"),
        (control(Experiment("shadow", 0.5, {"a": 1.0})), "name of an experiment is 'shadow'"),
        (control(rules=[Rule("r", "d")]), "variant of rule r is 'd'"),
        (control(rules=[Rule("r", "fallback")], fallback=ModelRef("s", 1)), "variant of rule r is 'fallback'"),
        (control(rules=[Rule("r", "a"), Rule("r", "b")]), "names of rules"),
        (control(rules=[Rule("r", "a", feature="origin")]), "values of rule r is none"),
        (control(rules=[Rule("r", "a", values=("LGA",))]), "feature of rule r is none"),
        (control(shadows=(Shadow(ModelRef("m", 1), -0.1),)), "sample of shadow m@1 is -0.1"),
        (replace(control(), variants={"fallback": ModelRef("m", 1)}), "variants of the pipeline is 'fallback'"),
        (control(rollout=Rollout("r", ModelRef("m", 2), ModelRef("m", 1), (0.5, 0.1))), "stages of rollout r"),
        (control(rollout=Rollout("r", ModelRef("m", 2), ModelRef("m", 1), (0.1,), stage=1)), "stage of rollout r is 1"),
    ],
)
def test_a_control_record_that_nobody_could_follow(wrong: Control, said: str) -> None:
    with pytest.raises(InvalidControl, match=said):
        check(wrong)
    with pytest.raises(InvalidControl):
        Routing(wrong)


@pytest.mark.parametrize("tiny", [1e-300, 1e-17])
def test_an_arm_of_next_to_no_weight_harms_nobody(tiny: float) -> None:
    assert (answers(control(Experiment("x", 1.0, {"a": 1.0, "b": tiny}))) == "a").all()
    assert (answers(control(Experiment("x", 1.0, {"a": tiny, "b": 1.0}))) == "b").all()
