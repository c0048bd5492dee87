"""What every role counts of its machine's clock, for Prometheus."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter

Direction = Literal["ahead", "back"]


class ClockMetrics:
    """Jumps of one worker's wall clock, beside the figures of its role.

    >>> registry = CollectorRegistry()
    >>> ClockMetrics("flights", registry).count_jump("back")
    >>> registry.get_sample_value("penstock_clock_jumps_total", {"pipeline": "flights", "direction": "back"})
    1.0
    """

    def __init__(self, pipeline: str, registry: CollectorRegistry) -> None:
        self._pipeline = pipeline
        self._jumps = Counter(
            "penstock_clock_jumps", "Jumps of the worker's wall clock.", ["pipeline", "direction"], registry=registry
        )

    def count_jump(self, direction: Direction) -> None:
        """By half a second or more."""
        self._jumps.labels(self._pipeline, direction).inc()
