"""What a runtime must show before it serves: the promised outputs, the same bits in any window, its speed."""

from __future__ import annotations

import statistics
import time
from typing import Protocol

import numpy as np

from penstock.models.package_files import Manifest
from penstock.schemas.columns import Columns, Floats
from penstock.schemas.errors import ModelRefused


class Scorer(Protocol):
    def outputs(self, columns: Columns) -> Floats: ...


def repeated(sample: Columns, rows: int, offset: int = 0) -> Columns:
    """`rows` rows: those of `sample` again and again, from `offset` on."""
    return sample.take((np.arange(rows, dtype=np.intp) + offset) % sample.rows)


def is_bit_stable(scorer: Scorer, sample: Columns, sizes: set[int]) -> bool:
    """Whether each sample row has the same bits in windows of all `sizes`, at two places in each."""
    expected = scorer.outputs(sample).view(np.int32)
    for size in sorted(sizes):
        for offset in (0, 7):
            places = (np.arange(size) + offset) % sample.rows
            if not np.array_equal(scorer.outputs(repeated(sample, size, offset)).view(np.int32), expected[places]):
                return False
    return True


def check_golden(found: Floats, expected: Floats, manifest: Manifest, model: str) -> None:
    """Raises ModelRefused when an output lies outside the manifest's tolerance; NaN always does."""
    tolerance = manifest.tolerance
    wrong = ~np.isclose(found, expected, rtol=tolerance.relative, atol=tolerance.absolute)
    if rows := int(wrong.any(axis=1).sum()):
        worst = int(np.nan_to_num(np.abs(found - expected).max(axis=1), nan=np.inf).argmax())
        raise ModelRefused(
            model,
            f"{rows} of {len(expected)} golden outputs differ beyond {tolerance.relative:g} relative and "
            f"{tolerance.absolute:g} absolute; row {worst} gives {found[worst].tolist()}, "
            f"expected {expected[worst].tolist()}",
            fix="The installed code builds another network than the one that was packaged.",
        )


def median_us(scorer: Scorer, columns: Columns, calls: int = 15) -> float:
    """Median time of a call, microseconds."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        scorer.outputs(columns)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6
