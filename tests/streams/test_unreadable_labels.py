"""Records that are no labels become dead letters, and are counted; a million of them fill no log and no memory."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.monitoring.config import LabelsConfig
from penstock.monitoring.metrics.watch import WatchMetrics
from penstock.schemas.dead_letters import DeadLetter
from penstock.schemas.topics import Topics
from penstock.streams.letters import Letters
from penstock.streams.seldom import Seldom
from penstock.streams.watch import WAITING_BYTES, Watched, WatchRole
from penstock.streams.watching.config import WatchConfig
from penstock.streams.watching.partition import PartitionWatch

TOPICS = Topics("flights", "departures")
CONFIG = WatchConfig(4, 60_000, 1_000, 5_000, LabelsConfig(), partitions=2)


class Watching:
    """A watch role that has partition 0, and notes its checkpoints instead of writing them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.watched = Watched(
            PartitionWatch(0, CONFIG, binning=None, clock=lambda: 0, state={})  # type: ignore[arg-type]
        )
        self.written: list[tuple[int, int]] = []
        """Of each checkpoint: the offset of the labels topic, and how many records wait."""
        role: Any = WatchRole.__new__(WatchRole)
        role.metrics, role._label_seen, role._logs = WatchMetrics("flights"), None, ()
        role._letters = Letters(TOPICS.dead_letters)
        role._no_labels = Seldom(logging.getLogger("penstock.watch").warning, clock=lambda: self.now)
        role._watched, role._app = {0: self.watched}, SimpleNamespace(consumer_generation_id=1)
        role._checkpoint = self._checkpoint
        self.role = role

    async def _checkpoint(self, partition: int, one: Watched) -> None:
        assert (partition, one) == (0, self.watched)
        strays = one.watch.labels.strays
        self.written.append((one.offsets[TOPICS.labels.name], len(one.letters) + len(strays)))
        one.letters, one.waiting = [], 0
        strays.clear()

    async def comes(self, *values: bytes) -> None:
        """One block of the labels topic."""
        records = [
            SimpleNamespace(offset=offset, timestamp=0, key=b"k", value=value, headers=[("who", b"me")])
            for offset, value in enumerate(values)
        ]
        block = SimpleNamespace(topic=TOPICS.labels.name, partition=0, records=records, next_offset=len(values))
        event = SimpleNamespace(value=block, message=SimpleNamespace(generation_id=1), ack=lambda: None)

        async def events() -> AsyncIterator[Any]:
            yield event

        await self.role.take(SimpleNamespace(noack=lambda: SimpleNamespace(events=events)))


async def test_they_become_dead_letters_counted_by_reason_and_named_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watching = Watching()

    await watching.comes(b"% wrong", b"{}", b"{", b'{"id": "a", "label": 1, "time": 7}')
    watching.now = 59
    await watching.comes(b"{}")
    watching.now = 60
    await watching.comes(b"{}")

    first, second = caplog.messages
    assert first.startswith("flights.labels, partition 0, offset 0: no label, a dead letter. ")
    assert second.endswith("id is missing; a label has id, label and time. (3 more like it before)")
    counted = {
        reason: watching.role.metrics.registry.get_sample_value(
            "penstock_unreadable_labels_total", {"pipeline": "flights", "reason": reason}
        )
        for reason in ("not_json", "missing_field")
    }
    assert counted == {"not_json": 2, "missing_field": 3}
    letters = [DeadLetter.from_record(*record) for record in watching.watched.letters]
    assert [(letter.offset, letter.value) for letter in letters] == [
        (0, b"% wrong"), (1, b"{}"), (2, b"{"), (0, b"{}"), (0, b"{}"),
    ]  # fmt: skip
    assert {(letter.topic, letter.partition, letter.key, letter.headers) for letter in letters} == {
        ("flights.labels", 0, b"k", (("who", b"me"),))
    }
    assert watching.written == []


@pytest.mark.parametrize(
    "value",
    [
        b"no label" * 64,
        json.dumps({"id": "e" * 500, "label": 1, "time": 7, "source": {"partition": 1, "offset": 0}}).encode(),
    ],
    ids=["no-labels", "labels-of-another-partition"],
)
async def test_a_flood_is_written_before_its_time(value: bytes) -> None:
    watching, in_a_block = Watching(), 1000

    for _ in range(2 * WAITING_BYTES // (in_a_block * len(value))):
        await watching.comes(*[value] * in_a_block)

    assert watching.written, "what waits for a checkpoint has a limit, however much comes between two of them"
    for offset, records in watching.written:
        assert offset == in_a_block, "with the offset of what was taken, or it would be written again"
        assert records * len(value) < WAITING_BYTES + 2 * in_a_block * len(value)
