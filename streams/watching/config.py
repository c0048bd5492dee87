"""What watch is told about one partition, made from the settings once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from penstock.monitoring.config import LabelsConfig, RolloutConfig
from penstock.streams.partitioners import Partitioner

if TYPE_CHECKING:
    from penstock.streams.settings import Settings


class WatchConfig(NamedTuple):
    """Times in ms; what they mean is said in `penstock.streams.settings.monitoring`.

    rollout      the plan whose gates the cells are for
    partitions   of the scored log
    partitioner  of the events; None: labels lie where their events do
    """

    segment_rows: int
    segment_max_ms: int
    max_out_of_order_ms: int
    max_future_ms: int
    labels: LabelsConfig
    partitions: int = 1
    partitioner: Partitioner | None = None
    rollout: RolloutConfig = RolloutConfig()

    @classmethod
    def of(cls, settings: Settings, partitions: int) -> WatchConfig:
        watch = settings.watch
        return cls(
            watch.segment_rows,
            int(watch.segment_max_s * 1000),
            int(watch.max_out_of_order_s * 1000),
            int(watch.max_future_s * 1000),
            settings.labels.config(),
            partitions,
            settings.labels.partitioner,
            settings.rollout.config(),
        )
