"""What holds for every stream of alarms: nothing is told twice, nothing is lost, and a restart changes nothing."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import replace
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.monitoring.alarms import Alarm, Aspect, Family
from penstock.monitoring.alerts.book import CAUSES_KEPT, STORIES, AlertBook, Position, UnreadableBook
from penstock.monitoring.alerts.state import BookState
from penstock.monitoring.config import AlertsConfig
from penstock.schemas.alerts import Alert, decode_alert, encode_alert

figures = st.dictionaries(st.sampled_from(["mean", "missing", "errors"]), st.floats(width=32), max_size=2)
alarms = st.builds(
    Alarm,
    family=st.sampled_from(get_args(Family)),
    signal=st.sampled_from(["feature:a", "feature:b", "score:champion", "lag"]),
    detector=st.sampled_from(["ecusum", "adwin"]),
    aspect=st.sampled_from(get_args(Aspect)),
    statistic=st.sampled_from([12.0, 13.5, 40.0, 900.0, float("inf"), float("nan")]),
    threshold=st.just(12.0),
    before=figures,
    after=figures,
    slice=st.sampled_from([None, "origin=JFK"]),
)
segments = st.lists(
    st.tuples(
        st.lists(alarms, max_size=3),
        st.sampled_from(["summary", "summary", "quality", "operations"]),
        st.sampled_from(["delay@3", "delay@4"]),
        st.sampled_from(["", "", "", "suppress", "resume", "acknowledge"]),
    ),
    max_size=40,
)
configs = st.builds(
    AlertsConfig,
    confirm=st.sampled_from([(1, 1), (2, 3)]),
    clear_after=st.sampled_from([1, 4]),
    clear_after_s=st.sampled_from([0.0, 200.0]),
    cool_down_s=st.sampled_from([0.0, 300.0]),
    remind_s=st.sampled_from([60.0, 600.0]),
)

Story = list[tuple[list[Alarm], str, str, str]]


def judge(story: Story, config: AlertsConfig, *, restart_at: int = -1, shuffle: int = 0) -> list[Alert]:
    book = AlertBook(config, pipeline="flights", sensitive=("b",))
    told = []
    for number, (found, kind, model, command) in enumerate(story):
        if number == restart_at:
            book = AlertBook.restore(book.snapshot(), config, pipeline="flights", sensitive=("b",))
        if command == "suppress":
            book.suppress("a stage", until=(number + 5) * 60_000)
        elif command == "resume":
            book.resume()
        elif command == "acknowledge" and book.open:
            told += book.acknowledge(book.open[0].id, "ada")
        position = Position(0, number, number * 512, number * 512 + 511, number * 60_000, model, 1, kind=kind)  # type: ignore[arg-type]
        found = random.Random(shuffle).sample(found, len(found)) if shuffle else found
        told += book.observe(found, position=position)
    return told


def story_of(alert: Alert) -> str:
    return next((story for story, families in STORIES.items() if alert.family in families), alert.family)


@settings(deadline=None)
@given(segments, configs, st.integers(0, 40))
def test_a_restart_at_any_segment_changes_nothing(story: Story, config: AlertsConfig, cut: int) -> None:
    assert judge(story, config, restart_at=cut) == judge(story, config)


@settings(deadline=None)
@given(segments, configs, st.integers(1, 5))
def test_the_order_of_alarms_within_a_segment_changes_nothing(story: Story, config: AlertsConfig, seed: int) -> None:
    def plain(alerts: list[Alert]) -> list[tuple[str, str, str, int]]:
        return [(alert.id, alert.state, alert.severity, alert.count) for alert in alerts]

    distinct = [(list({(a.signal, a.aspect, a.slice): a for a in found}.values()), *more) for found, *more in story]
    assert plain(judge(distinct, config, shuffle=seed)) == plain(judge(distinct, config))  # type: ignore[arg-type]


@settings(deadline=None)
@given(segments, configs)
def test_every_alert_lives_in_order_and_a_story_of_a_model_has_one_at_a_time(
    story: Story, config: AlertsConfig
) -> None:
    lives: dict[str, list[Alert]] = defaultdict(list)
    open_stories: dict[tuple[str, str | None], str] = {}
    for alert in judge(story, config):
        life = lives[alert.id]
        assert (alert.state == "raised") == (not life or (life[-1].suppressed is not None and alert.suppressed is None))
        if life:
            before = life[-1]
            assert before.state != "cleared"
            assert (before.count, before.last_seen, before.time) <= (alert.count, alert.last_seen, alert.time)
            assert before.first_seen >= alert.first_seen  # a cause that was confirmed now may have begun before
            assert before.suppressed is not None or alert.suppressed is None
        life.append(alert)
        assert open_stories.setdefault((story_of(alert), alert.model), alert.id) == alert.id
        if alert.state == "cleared":
            del open_stories[story_of(alert), alert.model]
        assert [cause.contribution for cause in alert.causes] == sorted(
            (cause.contribution for cause in alert.causes), reverse=True
        )


@settings(deadline=None)
@given(segments, configs)
def test_every_alarm_is_counted_once(story: Story, config: AlertsConfig) -> None:
    config = replace(config, confirm=(1, 1))
    quiet: Story = [([], kind, "delay@3", "") for kind in ("summary", "quality", "operations") for _ in range(12)]
    cleared = [alert for alert in judge(story + quiet, config) if alert.state == "cleared"]
    assert sum(alert.count for alert in cleared) == sum(len(found) for found, *_ in story)


@settings(deadline=None)
@given(segments, configs)
def test_what_is_told_can_be_read_as_json_and_holds_no_sensitive_figure(story: Story, config: AlertsConfig) -> None:
    for alert in judge(story, config):
        key, value, headers = encode_alert(alert)
        assert decode_alert(value, headers, "here") == alert
        assert json.loads(value)["id"].encode() == key
        assert alert.title.strip()
        assert "nan" not in alert.title.split(": ", 1)[-1]
        for cause in alert.causes:
            if cause.signal == "feature:b":
                assert not cause.before
                assert not cause.after


def position(number: int) -> Position:
    return Position(0, number, number * 512, number * 512 + 511, number * 60_000)


def test_memory_is_bounded() -> None:
    config = AlertsConfig(confirm=(2, 100), clear_after=5)
    book = AlertBook(config, pipeline="flights")
    for number in range(60):
        found = [
            Alarm("data_drift", f"feature:x{k}", "ecusum", "location", 15.0, 12.0)
            for k in range(number * 50, number * 50 + 100)
        ]
        book.observe(found, position=position(number))
    state = msgspec.msgpack.decode(book.snapshot(), type=BookState)
    assert len(state.open[0].causes) == CAUSES_KEPT
    assert len(book.snapshot()) < 1_000_000


@pytest.mark.parametrize("snapshot", [b"", b"\xc1", b"{}", msgspec.msgpack.encode({"version": 2}), b"\x80"])
def test_what_is_no_snapshot_is_refused_in_a_sentence(snapshot: bytes) -> None:
    with pytest.raises(UnreadableBook, match="cannot be restored"):
        AlertBook.restore(snapshot, AlertsConfig(), pipeline="flights")
