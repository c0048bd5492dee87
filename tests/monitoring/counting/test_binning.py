"""A binning says how each signal's values fall into slots, with a reference, without one, and where it has a season."""

from __future__ import annotations

import numpy as np
import pytest
from scored_blocks import LAYOUT, NOW, block, columns

from penstock.models.profiling import build_profile
from penstock.monitoring.counting.binning import Binning
from penstock.monitoring.counting.count import count
from penstock.schemas.columns import Columns, Floats, Layout
from penstock.schemas.profile import OVER, UNDER, NumericProfile, ReferenceProfile, slots_of
from penstock.schemas.scored import ScoredBlock
from penstock.schemas.seasons import DAY_MS, at_the_average_hour
from penstock.schemas.summaries import LOG_EDGES, NO_WATERMARK, Summary

RNG = np.random.default_rng(3)
PROFILE = build_profile(columns(RNG, 3_000), scores=RNG.random(3_000, np.float32))


def binning(profile: ReferenceProfile | None = PROFILE, **options: object) -> Binning:
    return Binning.of(LAYOUT, ("wind",), profile, **{"reference": "delay@3", **options})  # type: ignore[arg-type]


def counted(rows: ScoredBlock, bins: Binning) -> Summary:
    return count(
        rows, bins, segment=0, part=0, complete=True,
        watermark_before=NO_WATERMARK, max_future_ms=3_600_000, max_out_of_order_ms=0,
    )  # fmt: skip


def test_signals_have_the_references_bins_values_and_moments() -> None:
    distance, seats, legs = (PROFILE.features[name] for name in ("distance", "seats", "legs"))
    assert isinstance(distance, NumericProfile)
    assert isinstance(seats, NumericProfile)
    assert isinstance(legs, NumericProfile)
    for name, profile in (("distance", distance), ("seats", seats), ("legs", legs)):
        signal = binning().signal(f"feature:{name}")
        assert signal.scale == "bins"
        assert signal.edges.tolist() == profile.edges.tolist()
        assert (signal.centre, signal.spread) == (profile.moments.mean, profile.moments.deviation)
    assert set(binning().signal("feature:origin").values) == {"JFK", "LGA", "EWR", "naïve ✈"}
    assert binning().signal("score:canary").scale == "bins"
    assert binning(outputs=3).signal("class:canary").values == ("0", "1", "2")


def test_without_a_reference_numbers_are_binned_by_magnitude() -> None:
    bins = binning(None)
    for name in ("feature:distance", "feature:seats", "feature:legs", "age:wind", "length:origin", "size", "lag",
                 "score:champion"):  # fmt: skip
        assert bins.signal(name).scale == "log"
        assert bins.signal(name).edges is LOG_EDGES
    assert bins.signal("feature:origin").values == ()
    assert "distance" not in bins.signals


@pytest.mark.parametrize("name", ["feature:unknown", "class:champion", "score:", "age:seats", "other"])
def test_an_unknown_signal_is_no_signal(name: str) -> None:
    with pytest.raises(KeyError):
        binning().signal(name)


def test_the_digest_tells_binnings_apart() -> None:
    assert binning().digest == binning().digest
    others = [
        binning(reference="delay@4"), binning(None), binning(ranges={"distance": (0.0, 1.0)}), binning(outputs=2),
        binning(sensitive={"seats"}), binning(withheld={"seats"}),
    ]  # fmt: skip
    assert len({binning().digest, *(other.digest for other in others)}) == len(others) + 1


def test_what_the_log_leaves_out_is_no_signal() -> None:
    bins = binning(withheld={"distance", "origin", "legs"})
    summary = counted(block(200), bins)
    assert "feature:wind" in summary.signals
    assert not {f"{kind}:{name}" for kind in ("feature", "length") for name in ("distance", "origin", "legs")} & set(
        summary.signals
    )
    whole = counted(block(200), binning())
    for name in ("feature:wind", "feature:seats", "age:wind", "size", "lag"):
        assert summary.signals[name].slots.tolist() == whole.signals[name].slots.tolist()


def test_sensitive_features_take_no_part_in_the_distance() -> None:
    joint = binning(sensitive={"distance"}).joint
    assert joint is not None
    assert joint.features.tolist() == [1, 2, 3]
    assert binning(sensitive={"distance", "wind", "seats"}).joint is None
    assert binning(sensitive={"distance"}).signal("feature:distance").sensitive


def pairs(rows: int, correlation: float) -> Floats:
    rng = np.random.default_rng(rows)
    values = rng.normal(size=(rows, 2))
    values[:, 1] = correlation * values[:, 0] + np.sqrt(1 - correlation**2) * values[:, 1]
    return values.astype(np.float32)


def plain(values: Floats, times: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None) -> ScoredBlock:
    rows = block(len(values), layout=Layout(("a", "b")))
    rows.columns = Columns(Layout(("a", "b")), values, np.empty((len(values), 0), np.int64), (), ())
    if times is not None:
        rows.event_times = rows.timestamps = times
    return rows


def test_numbers_that_stop_going_together_are_far_from_the_reference() -> None:
    profile = build_profile(plain(pairs(3_000, 0.95)).columns)
    bins = Binning.of(Layout(("a", "b")), ("wind",), profile, reference="")
    together, apart = (counted(plain(pairs(400, c)), bins).signals for c in (0.95, 0.0))
    assert together["distance"].slots[:16].sum() == pytest.approx(200, abs=40)
    assert apart["distance"].slots[:16].sum() < 100
    gone = counted(plain(np.full((400, 2), np.nan, np.float32)), bins).signals["distance"]
    assert gone.slots[0] + gone.slots[32] == 400  # at the mean, where nothing is nearer


def test_a_season_is_taken_out_of_values_before_they_are_binned() -> None:
    times = NOW + np.arange(0, 28 * DAY_MS, DAY_MS // 144)
    swing = 5 * np.sin(2 * np.pi * times / DAY_MS)
    values = (np.random.default_rng(0).normal(size=(len(times), 2)) + np.stack([swing, 0 * swing], axis=1)).astype("f4")
    profile = build_profile(plain(values).columns, times=times, segment_rows=144)
    seasonal = profile.features["a"]
    assert isinstance(seasonal, NumericProfile)
    assert seasonal.season is not None
    bins = Binning.of(Layout(("a", "b")), ("wind",), profile, reference="")
    some = slice(0, 1_000)
    counts = counted(plain(values[some], times[some]), bins).signals["feature:a"]
    usual = at_the_average_hour(seasonal.season, values[some, 0].astype(np.float64), times[some])
    expected = np.bincount(slots_of(usual, seasonal.edges), minlength=36)
    assert np.abs(counts.slots - expected).sum() < 60  # the season is looked up in steps of five minutes
    assert counts.highest == values[some, 0].max()
    assert counts.slots[[UNDER, OVER]].sum() < 10
    noon = counted(plain(values[some], times[some] + DAY_MS // 2), bins).signals["feature:a"]
    assert noon.slots[[UNDER, OVER]].sum() > 300
