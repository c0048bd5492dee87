"""The labels of one partition: those that come in, those that belong elsewhere, and those that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.quality.labels import Joined, LabelRuns
from penstock.schemas.labels import LabelBatch, decode_credible_labels
from penstock.schemas.summaries import NO_WATERMARK
from penstock.streams.partitioners import partition_of
from penstock.streams.watching.config import WatchConfig

_RUNS = "labels/"
"""Names of the state begin so."""


class LabelRecord(Protocol):
    """A record of the labels topic, as far as it matters here."""

    @property
    def key(self) -> bytes | None: ...

    @property
    def value(self) -> bytes | None: ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...

    @property
    def timestamp(self) -> int: ...


class Stray(NamedTuple):
    """A label whose event is in another partition."""

    partition: int
    record: LabelRecord


class PartitionLabels:
    """What is known of the events of one partition.

    watermark  all labels up to then have been sent, Unix ms; None where nobody says so
    strays     labels to send on to other partitions
    """

    def __init__(
        self, partition: int, config: WatchConfig, *, state: Mapping[str, bytes], watermark: int | None
    ) -> None:
        self._partition, self._config = partition, config
        runs = ((name[len(_RUNS) :], run) for name, run in state.items() if name.startswith(_RUNS))
        self._runs = LabelRuns.restore(runs, limit=config.labels.rows)
        self.watermark = watermark
        self.strays: list[Stray] = []

    def put(self, records: Sequence[LabelRecord]) -> LabelBatch:
        """Records of the labels topic, in order. Returns what was read of them, for whoever counts.

        A label whose event is in another partition, by its source or by its key, is sent on to that one.
        """
        batch = decode_credible_labels(records, max_future_ms=self._config.max_future_ms)
        there = self._homes(batch, records)
        mine = there == self._partition
        self._runs.put(batch.hashes[mine], batch.values[mine], batch.times[mine])
        for stray in np.flatnonzero(~mine).tolist():
            self.strays.append(Stray(int(there[stray]), records[int(batch.positions[stray])]))
        if batch.watermark is not None:
            self.watermark = max(self.watermark or NO_WATERMARK, batch.watermark)
        return batch

    def _homes(self, batch: LabelBatch, records: Sequence[LabelRecord]) -> NDArray[np.int64]:
        """The partition of each label's event, [labels]."""
        config, homes = self._config, batch.sources[:, 0].copy()
        if config.partitioner is not None:
            for row in np.flatnonzero(homes < 0).tolist():
                if (key := records[int(batch.positions[row])].key) is not None:
                    homes[row] = partition_of(key, config.partitions, config.partitioner)
        homes[(homes < 0) | (homes >= config.partitions)] = self._partition  # nobody knows better
        return homes

    def join(self, hashes: NDArray[np.uint64]) -> Joined:
        """What is known of the events whose ids have these hashes, [n] uint64."""
        return self._runs.join(hashes)

    @property
    def horizon(self) -> int:
        """Labels whose time is earlier are forgotten, Unix ms."""
        return self._runs.horizon

    def forget(self, before_ms: int) -> None:
        """Forget labels whose time is earlier; it never goes back."""
        self._runs.expire(before_ms)

    def changes(self) -> dict[str, bytes | None]:
        """The parts of the state that differ from what was asked for last, by name; None is to be forgotten."""
        return {f"{_RUNS}{name}": run for name, run in self._runs.changes()}
