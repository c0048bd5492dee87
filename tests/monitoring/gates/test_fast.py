"""The fast test: great harm ends a rollout within some blocks; nothing less does, and it promotes nobody."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from penstock.monitoring.gates.cells import Cells
from penstock.monitoring.gates.estimate import Outcomes, estimate
from penstock.monitoring.gates.fast import FEWEST_BLOCKS, FastState, FastTest
from penstock.schemas.comparison import CellSums
from penstock.schemas.gates import KEY_GROUPS

Random = np.random.Generator


def block(rng: Random, rows: int, rate: float) -> CellSums:
    groups = rng.integers(0, KEY_GROUPS, rows)
    wrong = np.bincount(groups, rng.random(rows) < rate, KEY_GROUPS).astype(np.int64)
    return CellSums(np.bincount(groups, minlength=KEY_GROUPS), np.stack([wrong, np.zeros_like(wrong)], 1))


def fast() -> FastTest:
    return FastTest("canary", "error", margin=0.02, alpha=0.0125)


def blocks_until_rollback(rate: float, blocks: int = 300, outcomes: Outcomes | None = None) -> int | None:
    rng, test = np.random.default_rng(1), fast()
    for count in range(1, blocks + 1):
        test.add_arms(block(rng, 460, 0.2), block(rng, 50, rate))
        if test.judge(outcomes).verdict != "hold":
            assert test.judge(outcomes).verdict == "rollback"
            return count
    return None


def test_great_harm_is_over_soon() -> None:
    taken = blocks_until_rollback(0.6)
    assert taken is not None
    assert FEWEST_BLOCKS <= taken <= 15


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.22, 0.24])
def test_harm_up_to_twice_the_margin_is_for_others_to_judge(rate: float) -> None:
    assert blocks_until_rollback(rate) is None


def test_labels_that_are_missing_in_one_arm_are_no_harm() -> None:
    outcomes = Outcomes(champion_rows=100_000, champion_known=100_000, candidate_rows=100_000, candidate_known=60_000)
    assert blocks_until_rollback(0.6, 100, outcomes) is None


def test_its_estimate_is_that_of_the_gate() -> None:
    """With blocks as buckets, and the same number of rows in each."""
    for paired in (True, False):
        rng, cells = np.random.default_rng(2), Cells(1, paired=paired)
        test = FastTest("paired" if paired else "canary", "error", margin=0.02, alpha=0.01)
        for at in range(40):
            champion, candidate = block(rng, 460, 0.2), block(rng, 50, 0.3)
            if paired:
                cells.add(at, candidate)
                test.add(candidate)
            else:
                cells.add_arms(at, champion, candidate)
                test.add_arms(champion, candidate)
        expected = estimate(cells.strata(100), "paired" if paired else "canary")
        assert test._estimate()._replace(lag=0.0) == pytest.approx(expected._replace(lag=0.0), rel=1e-9)


def test_blocks_of_one_arm_do_not_count() -> None:
    rng, test = np.random.default_rng(3), fast()
    test.add_arms(block(rng, 100, 0.2), None)
    test.add_arms(block(rng, 100, 0.2), block(rng, 0, 0.2))
    assert test.judge().clusters == 0


def test_a_snapshot_goes_on_as_if_nothing_had_happened() -> None:
    rng, straight = np.random.default_rng(4), fast()
    resumed = fast()
    for _ in range(30):
        champion, candidate = block(rng, 460, 0.2), block(rng, 50, 0.3)
        for one in (straight, resumed):
            one.add_arms(champion, candidate)
        assert straight.judge() == resumed.judge()
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(resumed.state()), type=FastState)
        resumed = fast()
        resumed.restore(state)
    paired = FastTest("paired", "error", margin=0.02, alpha=0.0125)
    with pytest.raises(ValueError, match="4 rows of groups; expected 3"):
        paired.restore(state)
