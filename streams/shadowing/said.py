"""What a shadow worker says about its records: figures for each, and a sentence only where something is new."""

from __future__ import annotations

import logging
from collections.abc import Callable

from faust.types import TP

from penstock.monitoring.metrics.shadow import ShadowMetrics
from penstock.streams.control.candidates import FeaturesNotLogged
from penstock.streams.seldom import Seldom
from penstock.streams.shadowing.partition import Answer
from penstock.streams.shadowing.scorer import Asked

log = logging.getLogger("penstock.shadow")


class Said:
    """Counts answers, and remembers what was said of candidates. `end_of` tells where the log ends, as far as known."""

    def __init__(self, topic: str, metrics: ShadowMetrics, end_of: Callable[[TP], int | None]) -> None:
        self._topic, self._metrics, self._end_of = topic, metrics, end_of
        self._unlogged: set[tuple[int, str]] = set()
        """Partitions and candidates whose features are not logged there yet."""
        self._failed: set[str] = set()
        self._too_large = Seldom(log.error)

    def count(self, partition: int, record: int, answer: Answer) -> None:
        """The answer to the log's record at offset `record`."""
        self._metrics.count_taken(answer.rows)
        for asked in answer.asked:
            self._metrics.count_rows(
                asked.model, asked.rows,
                non_finite=asked.non_finite, failed=asked.failed, seconds=asked.took_us / 1e6,
            )  # fmt: skip
            self._tell_of_failures(asked)
            self._tell_of_features(partition, record, asked)
        for error in answer.too_large:
            self._too_large.say(f"{error} It is missing from the comparison.")
        self._metrics.count_too_large(len(answer.too_large))

    def _tell_of_failures(self, asked: Asked) -> None:
        if asked.failure is not None and asked.model not in self._failed:
            self._failed.add(asked.model)
            log.warning(
                "%s fails on some rows; they count as not finite. The first: %s: %s",
                asked.model, type(asked.failure).__name__, asked.failure,
            )  # fmt: skip

    def _tell_of_features(self, partition: int, record: int, asked: Asked) -> None:
        """That they are not logged, and later from where on they are."""
        place = (partition, asked.model)
        if asked.lacking:
            self._metrics.count_unlogged(asked.model, asked.unlogged)
            if place not in self._unlogged:
                self._unlogged.add(place)
                end = max(self._end_of(TP(self._topic, partition)) or 0, record + 1)
                refusal = FeaturesNotLogged(asked.model, asked.lacking, {partition: end})
                log.warning("%s Rows without are left out until then.", refusal)
        elif place in self._unlogged:
            self._unlogged.discard(place)
            log.info(
                "%s, partition %d has the features of %s from offset %d on",
                self._topic, partition, asked.model, record,
            )  # fmt: skip
