"""Several scored blocks of one partition as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from penstock.schemas.columns import Category, Columns
from penstock.schemas.scored import ScoredBlock


def joinable(first: ScoredBlock, second: ScoredBlock) -> bool:
    """Whether the two have the same columns: a changed catalogue or another kind of model may have come in between."""
    outputs = [None if block.scores is None else block.scores.shape[1] for block in (first, second)]
    return (
        first.columns.layout == second.columns.layout
        and first.aged == second.aged
        and outputs[0] == outputs[1]
        and first.partition == second.partition
    )


def join(blocks: Sequence[ScoredBlock]) -> ScoredBlock:
    """The rows of joinable blocks, in order; when and by what they were scored is the first one's."""
    first = blocks[0]
    if len(blocks) == 1:
        return first
    joined: dict[str, Any] = {}
    for name in (field.name for field in fields(ScoredBlock)):
        values = [getattr(block, name) for block in blocks]
        if any(value is None for value in values):
            joined[name] = None
        elif isinstance(values[0], list):
            joined[name] = [item for value in values for item in value]
        elif isinstance(values[0], np.ndarray):
            joined[name] = np.concatenate(values)
        elif isinstance(values[0], Category):
            joined[name] = Category.concatenate(values)
        elif isinstance(values[0], Columns):
            joined[name] = Columns.concatenate(values)
        elif name == "took_us":
            joined[name] = sum(values)
    return replace(first, **joined)
