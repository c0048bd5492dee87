"""Predictions as JSON bytes, for a whole block at once and without an object per row.

The text is assembled by Arrow's string kernels. Its meaning is that of `msgspec.json.encode(Prediction(...))`; only the
digits differ: a score is written with the fewest digits that read back as the same float32 (0.7312, where the double
nearest to it would need 0.7311999797821045).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from penstock.schemas.columns import Floats
from penstock.schemas.records import ModelRef

_MASKS_KEPT = 4096
_FEW = 24
"""So few rows are written by hand sooner than Arrow's kernels are called."""


class Answered(NamedTuple):
    """What answered a row: the share of the traffic, its model, and why it was the fallback (None: it was not)."""

    variant: str
    model: ModelRef
    fallback: str | None = None


class PredictionEncoder:
    """Writes the predictions of one feature catalogue.

    `features` names the columns of the masks given to `encode`: `Layout.names`.

    >>> encoder = PredictionEncoder(("distance", "wind"))
    >>> [value] = encoder.encode(
    ...     ModelRef("delay", 3), "champion", 7, ids=["UA1"], score=np.array([0.7312], np.float32), scores=None,
    ...     event_times=np.array([1357034400000]), partition=0, offsets=np.array([42]),
    ...     defaulted=np.array([[False, True]]))
    >>> msgspec.json.decode(value)["defaulted"]
    ['wind']
    """

    def __init__(self, features: Sequence[str]) -> None:
        self._features = tuple(features)
        self._masks: dict[bytes, str] = {}

    def encode(
        self,
        model: ModelRef,
        variant: str,
        routing_revision: int,
        *,
        ids: Sequence[str],
        score: Floats,
        scores: Floats | None,
        event_times: NDArray[np.int64],
        partition: int,
        offsets: NDArray[np.int64],
        defaulted: NDArray[np.bool_] | None = None,
        fallback: str | None = None,
    ) -> list[bytes]:
        """One JSON document per row, in order, of rows that one model answered; the rest is as in `encode_mixed`."""
        return self.encode_mixed(
            (Answered(variant, model, fallback),),
            None,
            routing_revision,
            ids=ids,
            score=score,
            scores=scores,
            event_times=event_times,
            partition=partition,
            offsets=offsets,
            defaulted=defaulted,
        )

    def encode_mixed(
        self,
        answered: Sequence[Answered],
        codes: NDArray[np.int32] | None,
        routing_revision: int,
        *,
        ids: Sequence[str],
        score: Floats,
        scores: Floats | None,
        event_times: NDArray[np.int64],
        partition: int | Sequence[int],
        offsets: NDArray[np.int64],
        defaulted: NDArray[np.bool_] | None = None,
    ) -> list[bytes]:
        """One JSON document per row, in order.

        Args:
            answered: what answered rows of this block.
            codes: [rows] int32 places in `answered`; None: the first answered all.
            routing_revision: of the control record that was in force.
            ids: [rows]
            score: [rows] float32, finite
            scores: [rows, outputs] float32, finite; None where the models have one output
            event_times: [rows] int64 Unix ms
            partition: of the events topic; or [rows], where rows come of several.
            offsets: [rows] int64
            defaulted: [rows, features] bool: which values were missing, stale or malformed; None: none

        Raises:
            ValueError: a score is NaN or infinite, which JSON cannot say, or lengths differ.
        """
        rows = len(ids)
        arrays = (score, event_times, offsets, *(a for a in (scores, defaulted, codes) if a is not None))
        if any(len(array) != rows for array in arrays):
            raise ValueError(f"{rows} ids, but columns of {sorted({len(array) for array in arrays})} rows")
        if not np.isfinite(score).all() or (scores is not None and not np.isfinite(scores).all()):
            raise ValueError("a score is not finite: such rows are no predictions")
        if not rows:
            return []
        origins = [
            f',"variant":{_json(one.variant)},"model":{_json(one.model.name)},"version":{one.model.version}'
            f',"routing_revision":{routing_revision},"event_time":'
            for one in answered
        ]
        endings = [f',"fallback":{_json(one.fallback)}}}' for one in answered]
        if rows <= _FEW:
            which = [0] * rows if codes is None else codes.tolist()
            partitions = [partition] * rows if isinstance(partition, int) else partition
            return self._row_by_row(
                ids, score, scores, event_times, partitions, offsets, defaulted,
                [origins[code] for code in which], [endings[code] for code in which],
            )  # fmt: skip
        pieces: list[Any] = [
            '{"id":', *_strings(ids), ',"score":', _numbers(score), _chosen(origins, codes), _numbers(event_times),
            ',"source":{"partition":', _of_each(partition), ',"offset":', _numbers(offsets), '},"scores":',
            *_lists(scores), ',"defaulted":', self._defaulted(defaulted), _chosen(endings, codes),
        ]  # fmt: skip
        texts: list[bytes] = _join(pieces).cast(pa.binary()).to_pylist()
        return texts

    def _row_by_row(
        self,
        ids: Sequence[str],
        score: Floats,
        scores: Floats | None,
        event_times: NDArray[np.int64],
        partitions: Sequence[int],
        offsets: NDArray[np.int64],
        defaulted: NDArray[np.bool_] | None,
        origins: Sequence[str],
        endings: Sequence[str],
    ) -> list[bytes]:
        vectors = ["null"] * len(ids)
        if scores is not None:
            vectors = [f"[{','.join(_numbers(row).to_pylist())}]" for row in scores]
        masks = ["[]"] * len(ids)
        if defaulted is not None and defaulted.any():
            masks = [self._names(mask) for mask in defaulted]
        numbers, times = _numbers(score).to_pylist(), event_times.tolist()
        rows = zip(ids, numbers, times, partitions, offsets.tolist(), vectors, masks, origins, endings, strict=True)
        return [
            f'{{"id":{_json(name)},"score":{number}{origin}{time},"source":{{"partition":{partition},'
            f'"offset":{offset}}},"scores":{vector},"defaulted":{mask}{ending}'.encode()
            for name, number, time, partition, offset, vector, mask, origin, ending in rows
        ]

    def _defaulted(self, defaulted: NDArray[np.bool_] | None) -> Any:
        """A JSON list of names per row, or one for all. Rows mostly share a few masks: each is written once."""
        if defaulted is None or not defaulted.any():
            return "[]"
        if (defaulted == defaulted[0]).all():
            return self._names(defaulted[0])
        packed = np.packbits(defaulted, axis=1)
        # As fixed-length strings numpy sorts them fast; that it ignores zero bytes at the end changes no equality.
        _, first, inverse = np.unique(
            packed.view(f"S{packed.shape[1]}").ravel(), return_index=True, return_inverse=True
        )
        texts = [self._remembered(packed[row].tobytes(), defaulted[row]) for row in first.tolist()]
        if len(self._masks) > _MASKS_KEPT:
            self._masks.clear()
        return pa.array(texts, pa.string()).take(pa.array(inverse))

    def _remembered(self, packed: bytes, mask: NDArray[np.bool_]) -> str:
        text = self._masks.get(packed)
        if text is None:
            text = self._masks[packed] = self._names(mask)
        return text

    def _names(self, mask: NDArray[Any]) -> str:
        return _json([name for name, bit in zip(self._features, mask.tolist(), strict=True) if bit])


def _join(pieces: list[Any]) -> Any:
    """Arrays and constants, row by row. Constants that touch are one: the kernel pays for each piece."""
    joined: list[Any] = []
    for constant, run in groupby(pieces, lambda piece: isinstance(piece, str)):
        together = list(run)
        joined += ["".join(together)] if constant else together
    return pc.binary_join_element_wise(*joined, "")


def _chosen(texts: Sequence[str], codes: NDArray[np.int32] | None) -> Any:
    """The text of each row, or the one of all."""
    return texts[0] if codes is None else pa.array(texts, pa.string()).take(pa.array(codes))


def _of_each(partition: int | Sequence[int]) -> Any:
    return str(partition) if isinstance(partition, int) else _numbers(np.asarray(partition))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _strings(texts: Sequence[str]) -> list[Any]:
    """Each as a JSON string. Plain text, the usual case, is quoted without a look at each."""
    together = "".join(texts)
    if together.isprintable() and '"' not in together and "\\" not in together:
        return ['"', pa.array(texts, pa.string()), '"']
    return [pa.array(map(_json, texts), pa.string())]


def _numbers(values: NDArray[Any]) -> Any:
    return pa.array(values).cast(pa.string())


def _lists(scores: Floats | None) -> list[Any]:
    if scores is None:
        return ["null"]
    starts = pa.array(np.arange(0, scores.size + 1, scores.shape[1], dtype=np.int32))
    return ["[", pc.binary_join(pa.ListArray.from_arrays(starts, _numbers(scores.ravel())), ","), "]"]
