"""Alpha is spent once, and the verdict of a look follows from all of its evidence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.gates.plan import LABELLED_SHARE, conclude, shares
from penstock.monitoring.quality.slices import SLICES
from penstock.schemas.gates import Evidence, Guardrail, Verdict


def evidence(verdict: Verdict, test: str = "main", source: str = "paired", note: str = "") -> Evidence:
    return Evidence(test, source, "log_loss", verdict, 12_000, 9, 64, 0.005, 0.01, 0.001, -0.003, 0.004, 0.1, note)  # type: ignore[arg-type]


@given(st.floats(1e-4, 0.3), st.integers(1, 2), st.integers(0, 5))
def test_all_tests_together_may_err_as_often_as_the_rollout(alpha: float, sources: int, features: int) -> None:
    part = shares(alpha, sources=sources, features=features)
    spent = sources * (part.main + part.fast + features * (SLICES + 2) * part.slice)
    assert spent == pytest.approx(alpha)
    assert part.main >= alpha / sources / 2


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([], "hold"),
        ([evidence("hold")], "hold"),
        ([evidence("promote")], "promote"),
        ([evidence("promote"), evidence("hold", source="canary")], "promote"),
        ([evidence("promote"), evidence("rollback", source="canary")], "rollback"),
        ([evidence("promote"), evidence("rollback", "slice:origin=JFK")], "rollback"),
        ([evidence("hold"), evidence("promote", "slice:origin=JFK")], "hold"),
        ([evidence("promote"), evidence("rollback", "fast")], "rollback"),
    ],
)
def test_harm_rolls_back_and_only_the_primary_metric_promotes(found: list[Evidence], verdict: Verdict) -> None:
    assert conclude(found)[0] == verdict


def test_guardrails_hold_or_roll_back() -> None:
    good = [evidence("promote")]
    assert conclude(good, [Guardrail("latency", 1.0, 3.0, held=True)])[0] == "promote"
    assert conclude(good, [Guardrail("latency", 4.0, 3.0, held=False)]) == ("rollback", "latency is 4, beyond 3.")
    assert conclude(good, [Guardrail("latency", None, 3.0, held=False)]) == ("hold", "latency is not known yet.")
    late = Guardrail(LABELLED_SHARE, 0.2, 0.1, held=False)
    assert conclude(good, [late])[0] == "hold"
    assert conclude([evidence("rollback")], [late])[0] == "rollback"


def test_a_stage_lasts_as_long_as_it_must() -> None:
    verdict, reason = conclude([evidence("promote")], waiting="the stage lasts until 2013-03-08")
    assert verdict == "hold"
    assert reason.endswith("; the stage lasts until 2013-03-08.")


def test_the_reason_can_be_read() -> None:
    assert conclude([evidence("rollback", "slice:origin=JFK")])[1] == (
        "The candidate is worse where origin=JFK: log_loss +0.001, between -0.003 and +0.004 with a margin of 0.005, "
        "over 12,000 paired rows in 9 time buckets."
    )
    assert conclude([evidence("hold", note="400 rows of 2,000")])[1] == "Undecided: 400 rows of 2,000 (paired)."
