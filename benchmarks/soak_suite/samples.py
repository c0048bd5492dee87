"""What a process holds in memory, what a directory holds on disk, and what a row of samples says about growth."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Sample:
    """At one moment: bytes resident, its share of them, and those of nobody else; CPU seconds since it began."""

    at_s: float
    rss: int
    pss: int
    uss: int
    cpu_s: float


def sample(process: psutil.Process, at_s: float) -> Sample:
    memory, cpu = process.memory_full_info(), process.cpu_times()
    return Sample(at_s, memory.rss, memory.pss, memory.uss, cpu.user + cpu.system)


def held_at(samples: Sequence[Sample], at_s: float, what: str = "rss", *, within_s: float = 30.0) -> float:
    """Bytes around a moment: the median of the samples up to `within_s` before and after.

    >>> held_at([Sample(at, rss, 0, 0, 0.0) for at, rss in ((0, 1), (290, 7), (300, 8), (310, 9), (900, 2))], 300)
    8.0
    """
    return float(statistics.median(getattr(each, what) for each in samples if abs(each.at_s - at_s) <= within_s))


def bytes_on_disk(directory: Path) -> int:
    """Allocated, not apparent: Kafka's index files are made larger than they are filled."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):  # a segment that was deleted meanwhile
                total += Path(folder, name).stat().st_blocks * 512
    return total
