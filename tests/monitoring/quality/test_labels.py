"""Label runs: whatever the history of puts, corrections, merges, expiries and restarts, they answer as a dict would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from penstock.monitoring.quality.labels import OPEN_ROWS, Change, LabelRuns
from penstock.schemas.label_runs import CorruptLabels

HASH = st.integers(0, 30)
TIME = st.integers(-5, 40)
LABELS = st.lists(st.tuples(HASH, st.floats(-10, 10, width=32), TIME), max_size=60)


def put(runs: LabelRuns, labels: list[tuple[int, float, int]]) -> None:
    hashes, values, times = zip(*labels, strict=True) if labels else ((), (), ())
    runs.put(np.array(hashes, np.uint64), np.array(values, np.float64), np.array(times, np.int64))


def known(runs: LabelRuns, hashes: list[int]) -> dict[int, tuple[float, int]]:
    values, times, found = runs.join(np.array(hashes, np.uint64))
    return {
        event: (value, time)
        for event, value, time, has in zip(hashes, values.tolist(), times.tolist(), found.tolist(), strict=True)
        if has
    }


class Topic:
    """A compacted topic."""

    def __init__(self) -> None:
        self.latest: dict[str, bytes] = {}

    def write(self, changes: list[Change]) -> None:
        for key, value in changes:
            if value is None:
                self.latest.pop(key, None)
            else:
                self.latest[key] = value


class Histories(RuleBasedStateMachine):
    """The model: hash of an event → (value, time)."""

    @initialize(open_rows=st.sampled_from([1, 4, 20]))
    def begin(self, open_rows: int) -> None:
        self.open_rows = open_rows  # so few that short histories seal runs and merge them
        self.runs = LabelRuns(open_rows=open_rows)
        self.model: dict[int, tuple[float, int]] = {}
        self.horizon = -(2**63)
        self.topic = Topic()

    @rule(labels=LABELS)
    def put(self, labels: list[tuple[int, float, int]]) -> None:
        put(self.runs, labels)
        for event, value, time in labels:
            if time >= self.horizon and time >= self.model.get(event, (0.0, time))[1]:
                self.model[event] = (value, time)

    @rule(before=TIME)
    def expire(self, before: int) -> None:
        self.runs.expire(before)
        self.horizon = max(self.horizon, before)
        self.model = {event: known for event, known in self.model.items() if known[1] >= self.horizon}

    @rule()
    def publish(self) -> None:
        self.topic.write(self.runs.changes())

    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        self.topic.write(self.runs.changes())
        items = data.draw(st.permutations(sorted(self.topic.latest.items())))
        self.runs = LabelRuns.restore(items, open_rows=self.open_rows)
        assert self.runs.changes() == []

    @invariant()
    def answers_as_the_model(self) -> None:
        assert known(self.runs, [*range(31), 3, 3]) == self.model


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def many(rng: np.random.Generator, rows: int, time: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rng.integers(0, 2**64, rows, np.uint64), rng.integers(0, 2, rows).astype(float), np.full(rows, time)


def test_runs_stay_few_and_every_record_fits_a_message() -> None:
    rng, runs, topic = np.random.default_rng(1), LabelRuns(), Topic()
    written = 0
    for time in range(150):
        runs.put(*many(rng, 1500, time))
        changes = runs.changes()
        written += sum(len(value or b"") for _, value in changes)
        topic.write(changes)
    assert runs.rows == 225_000
    assert runs.runs <= 9
    assert runs.size_bytes == 20 * 225_000
    assert max(map(len, topic.latest.values())) <= 900_000
    assert sum(map(len, topic.latest.values())) < 1.01 * runs.size_bytes + 1000
    assert written < 10 * runs.size_bytes  # each label is written once per doubling


def test_the_oldest_go_when_there_are_too_many() -> None:
    rng, runs = np.random.default_rng(2), LabelRuns(limit=10_000)
    batches = [many(rng, 1000, time) for time in range(30)]
    for batch in batches:
        runs.put(*batch)
    assert runs.rows <= 10_000
    assert runs.evicted == 30_000 - runs.rows
    found = [bool(runs.join(hashes).found.all()) for hashes, _, _ in batches]
    assert found[-7:] == [True] * 7
    assert not any(found[:20])
    restored = LabelRuns.restore(runs.changes(), limit=10_000)
    assert restored.evicted == runs.evicted


def test_nothing_is_lost_wherever_the_writing_of_changes_breaks_off() -> None:
    rng = np.random.default_rng(3)
    runs, topic = LabelRuns(), Topic()
    first = many(rng, OPEN_ROWS - 1, 0)
    runs.put(*first)
    topic.write(runs.changes())
    runs.put(*many(rng, OPEN_ROWS, 1))  # seals the open run: what was in it moves
    changes = runs.changes()
    assert [key for key, _ in changes] == ["run/0/0", "manifest", "open"]
    for written in range(len(changes) + 1):
        broken = Topic()
        broken.write([*topic.latest.items(), *changes[:written]])
        restored = LabelRuns.restore(broken.latest.items())
        assert restored.join(first[0]).found.all()
        restored.put(*first)  # what follows a crash: the same labels once more
        broken.write(restored.changes())
        assert LabelRuns.restore(broken.latest.items()).join(first[0]).found.all()


def test_records_that_no_manifest_names_are_swept_away() -> None:
    restored = LabelRuns.restore([("run/7/0", b"left by a crash")])
    assert ("run/7/0", None) in restored.changes()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
def test_a_label_that_is_no_float32_is_refused(bad: float) -> None:
    runs = LabelRuns()
    with pytest.raises(ValueError, match="finite"):
        put(runs, [(1, 1.0, 0), (2, bad, 0)])
    assert runs.rows == 0


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_a_damaged_record_is_named(data: st.DataObject) -> None:
    rng, runs = np.random.default_rng(4), LabelRuns()
    for time in range(3):
        runs.put(*many(rng, OPEN_ROWS, time))
    latest = {key: value for key, value in runs.changes() if value is not None}
    key = data.draw(st.sampled_from(sorted(latest)))
    value = bytearray(latest[key])
    at = data.draw(st.integers(0, len(value) - 1))
    value[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CorruptLabels, match=key):
        LabelRuns.restore({**latest, key: bytes(value)}.items())
    if key not in ("manifest", "open"):
        del latest[key]
        with pytest.raises(CorruptLabels, match="missing"):
            LabelRuns.restore(latest.items())
