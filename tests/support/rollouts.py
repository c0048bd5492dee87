"""A rollout's world for tests: what a candidate and a champion lose, day by day, as the summaries say it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.schemas.comparison import CellSums, ComparisonSummary, PairSums
from penstock.schemas.control import Control
from penstock.schemas.gates import KEY_GROUPS
from penstock.schemas.operations import OperationalReading, VariantReading
from penstock.schemas.profile import SLOTS
from penstock.schemas.quality import QualitySummary
from penstock.schemas.records import ModelRef
from penstock.schemas.summaries import FIXED_POINT

OLD, NEW = ModelRef("delay", 1), ModelRef("delay", 2)
DAY = 86_400_000
START = 16_000 * DAY
"""Event time of the first day, Unix ms."""

Message = ComparisonSummary | QualitySummary | OperationalReading


def cell(random: np.random.Generator, rows: int, mean: float, spread: float) -> CellSums:
    """Losses of so many rows, dealt out to the groups of keys by chance."""
    counts = random.multinomial(rows, np.full(KEY_GROUPS, 1 / KEY_GROUPS)).astype(np.int64)
    sums = random.normal(mean * counts, spread * np.sqrt(counts))
    wholes = np.floor(sums)
    losses = np.stack([wholes, np.rint((sums - wholes) * FIXED_POINT)], 1).astype(np.int64)
    return CellSums(counts, losses)


@dataclass
class World:
    """What happens to the stream: `worse` is the candidate's mean loss less the champion's; change it as you go.

    Every day each partition gives paired rows and served rows, in several segments, and the workers a reading.
    """

    worse: float = 0.0
    partitions: int = 2
    segments: int = 6
    rows: int = 400
    non_finite: int = 0
    failed: int = 0
    slow: float = 1.0
    labelled: float = 1.0
    slices: dict[str, float] = field(default_factory=dict)
    """Slice → how much worse the candidate is in it."""
    seed: int = 0
    day: int = 0
    segment: int = 0

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)

    def next_day(self, control: Control) -> Iterator[Message]:
        """Everything that is said of one day, at its maturity, served under this control record.

        What is assigned to `control` meanwhile serves the rest of the day.
        """
        self.control = control
        begin = START + self.day * DAY
        base = 0.4 + 0.1 * np.sin(self.day)
        for segment in range(self.segments):
            control = self.control
            watermark = begin + (segment + 1) * DAY // self.segments
            times = (begin + segment * DAY // self.segments, watermark - 1)
            for partition in range(self.partitions):
                yield self._paired(control, partition, begin, times)
                yield self._labelled_pairs(control, partition, begin, times, watermark)
                yield self._served(control, partition, begin, base, times, watermark)
            self.segment += 1
        yield self._reading(self.control)
        self.day += 1

    def _where(self, partition: int, times: tuple[int, int], watermark: int) -> dict[str, Any]:
        first = self.segment * self.rows
        return {
            "partition": partition,
            "segment": self.segment,
            "part": 0,
            "complete": True,
            "first_offset": first,
            "last_offset": first + self.rows - 1,
            "event_times": times,
            "watermark": watermark,
        }

    def _paired(self, control: Control, partition: int, bucket: int, times: tuple[int, int]) -> ComparisonSummary:
        pairs = {
            (bucket, str(shadow.model), str(control.champion), ""): pair_sums(
                self.rows, self.non_finite if shadow.model == NEW else 0
            )
            for shadow in control.shadows
        }
        where = self._where(partition, times, 0)
        return ComparisonSummary(**where, mature=False, pairs=pairs, labelled={}, cells={}, latencies={})

    def _labelled_pairs(
        self, control: Control, partition: int, bucket: int, times: tuple[int, int], watermark: int
    ) -> ComparisonSummary:
        rows = round(self.rows * (1 - share_of(control)))
        cells = {}
        for shadow in control.shadows if rows else ():
            sign = 1 if shadow.model == NEW else -1
            for name, worse in {"": self.worse, **self.slices}.items():
                count = rows if not name else rows // 2
                cells[bucket, str(shadow.model), str(control.champion), name] = cell(
                    self._random, count, sign * worse, 0.1
                )
        where = self._where(partition, times, watermark)
        return ComparisonSummary(**where, mature=True, pairs={}, labelled={}, cells=cells, latencies={})

    def _served(
        self, control: Control, partition: int, bucket: int, base: float, times: tuple[int, int], watermark: int
    ) -> QualitySummary:
        share = share_of(control)
        rows = {"canary": round(self.rows * share)} if share else {}
        rows["champion"] = self.rows - sum(rows.values())
        models = {"champion": str(control.champion), "canary": str(NEW)}
        cells, served = {}, {}
        for variant, count in rows.items():
            if count:
                model = models[variant]
                mean = base + (self.worse if model == str(NEW) else 0.0)
                known = round(count * self.labelled) if variant == "canary" else count
                cells[bucket, variant, model, ""] = cell(self._random, known, mean, 0.3)
                served[variant, model, control.revision] = count
        return QualitySummary(
            **self._where(partition, times, watermark),
            rows=self.rows,
            labelled=self.rows,
            silent=0,
            missing=0,
            invalid=0,
            late=0,
            served=served,
            errors={},
            delays=np.zeros(SLOTS, np.int64),
            groups={},
            cells=cells,
        )

    def _reading(self, control: Control) -> OperationalReading:
        share, rows = share_of(control), self.rows * self.segments * self.partitions
        variants = {"champion": _variant(control.champion, rows, self)}
        if share:
            variants["canary"] = _variant(NEW, round(rows * share), self)
        return OperationalReading("score", "a", 0, 10_000, events=rows, variants=variants)


def _variant(model: ModelRef, rows: int, world: World) -> VariantReading:
    mine = model == NEW
    took_us = round(50 * 20 + rows * 5 * (world.slow if mine else 1.0))
    bad, failed = (world.non_finite, world.failed) if mine else (0, 0)
    return VariantReading(str(model), rows, non_finite=bad, failed=failed, calls=50, took_us=took_us)


def share_of(control: Control) -> float:
    return 0.0 if control.rollout is None or control.rollout.baking else control.rollout.share


def pair_sums(rows: int, non_finite: int) -> PairSums:
    differences: NDArray[np.int64] = np.zeros(SLOTS, np.int64)
    return PairSums(rows, non_finite, 0, 0, 0, 0, 0, differences, np.zeros((32, 32), np.int64))
