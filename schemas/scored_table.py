"""A scored block as a table with one named column per feature, for notebooks and training sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from penstock.schemas.arrow_columns import dictionary, matrix
from penstock.schemas.columns import MISSING_INTEGER

if TYPE_CHECKING:
    from penstock.schemas.scored import ScoredBlock

_TIME = pa.timestamp("ms", tz="UTC")


def table(block: ScoredBlock) -> pa.Table:
    """Features stand under their own names, or `feature:NAME` where a column of the row itself has that name."""
    rows = block.rows
    own: dict[str, Any] = {
        "id": pa.array(block.ids, pa.string()),
        "key": pa.array(block.keys, pa.binary()),
        "partition": pa.array(np.full(rows, block.partition, np.int32)),
        "offset": pa.array(block.offsets),
        "event_time": pa.array(block.event_times).cast(_TIME),
        "timestamp": pa.array(block.timestamps).cast(_TIME),
        "scored_at": pa.array(np.full(rows, block.scored_at, np.int64)).cast(_TIME),
        "variant": dictionary(block.variants),
        "model": dictionary(block.models),
        "routing_revision": pa.array(block.routing_revisions),
        "score": pa.array(block.score),
    }
    if block.scores is not None:
        own["scores"] = matrix(block.scores)
    names = block.columns.layout.names
    own["defaulted"] = pa.array(
        [[names[feature] for feature in np.flatnonzero(mask)] for mask in block.defaulted], pa.list_(pa.string())
    )
    features = {f"feature:{name}" if name in own else name: array for name, array in _features(block)}
    ages = {f"age_s:{name}": pa.array(block.ages[:, i], from_pandas=True) for i, name in enumerate(block.aged)}
    return pa.table({**own, **features, **ages})


def _features(block: ScoredBlock) -> Iterator[tuple[str, Any]]:
    columns, layout = block.columns, block.columns.layout
    for i, name in enumerate(layout.floats):
        yield name, pa.array(columns.floats[:, i], from_pandas=True)
    for i, name in enumerate(layout.integers):
        yield name, pa.array(columns.integers[:, i], mask=columns.integers[:, i] == MISSING_INTEGER)
    for name, category in zip(layout.categories, columns.categories, strict=True):
        yield name, dictionary(category)
    for (name, width), vector in zip(layout.vectors, columns.vectors, strict=True):
        missing = pa.array(np.isnan(vector).all(axis=1))
        yield name, pa.FixedSizeListArray.from_arrays(pa.array(vector.ravel()), width, mask=missing)
