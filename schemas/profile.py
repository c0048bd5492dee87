"""The reference profile: what the training data and its scores looked like, in the form that drift monitors need.

Numbers fall into 36 slots: up to 32 bins bounded by order statistics of the reference (minimum and maximum included,
duplicates merged), then under, over, missing and invalid. Counts are kept per segment of the reference, so that
variances and autocorrelation between segments can be had; a bounded sample of rows serves joint drift and renewed
references.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.schemas.arrays import from_array, to_array

BINS = 32
UNDER, OVER, MISSING, INVALID = range(BINS, BINS + 4)
SLOTS = BINS + 4
"""Slot k < BINS holds (edges[k-1], edges[k]], slot 0 the minimum itself; beyond the last edge slots stay empty."""

SCHEMA_VERSION = 2
"""2: numbers may have a season."""


class UnreadableProfile(ValueError):
    """The bytes are no reference profile, or one of a newer schema."""


class Moments(msgspec.Struct, frozen=True):
    """Of the finite values: NaN where there are too few. Kurtosis is the fourth standardised moment (normal: 3)."""

    count: int
    mean: float
    deviation: float
    skewness: float
    kurtosis: float


class NumericProfile(msgspec.Struct, frozen=True, tag="numeric"):
    """A column of numbers over m segments.

    edges       [E ≤ 32] float64, ascending; empty when no value is finite
    counts      [m, 36] uint16 rows per segment and slot
    means       [m] float64 and
    deviations  [m] float64: of each segment's finite values, clipped to the reference's 0.1 % and 99.9 % quantiles (for
                seasons); NaN where a segment has none
    season      [2, seasons.WIDTH] float64 of `penstock.schemas.seasons`, where day or week explain the values: edges
                and counts are then of the values at the average hour, all else of those that came
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.uint16]
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    moments: Moments
    season: NDArray[np.float64] | None = None


class CategoryProfile(msgspec.Struct, frozen=True, tag="category"):
    """A column of categories over m segments.

    values  the most frequent ones, most frequent first
    counts  [m, len(values) + 2] uint16 rows per segment: each value, any other, missing
    """

    values: tuple[str, ...]
    counts: NDArray[np.uint16]


class Sample(msgspec.Struct, frozen=True):
    """Rows of the reference at even distances, in its order; sensitive features are left out.

    rows        [s] positions in the reference
    numbers     feature → [s] float32 (NaN missing); a vector(n) feature → [s, n]
    categories  feature → [s] int32 into the profile's values; len(values) is any other, -1 missing
    scores      [s] float32, or empty
    labels      [s] float64, or empty
    times       [s] int64 Unix ms, or empty
    """

    rows: NDArray[np.int64]
    numbers: dict[str, NDArray[np.float32]]
    categories: dict[str, NDArray[np.int32]]
    scores: NDArray[np.float32]
    labels: NDArray[np.float64]
    times: NDArray[np.int64]


class ReferenceProfile(msgspec.Struct, frozen=True):
    """The reference: `rows` rows in the order of time, cut into segments of `segment_rows` (the last may be shorter).

    segment_times  [m, 2] int64 first and last event time of each segment, Unix ms; empty when times are not known
    features       a vector(n) feature is profiled by its Euclidean norm
    scores         of the model on the reference; for several classes the probability of the most probable one
    labels         the true outcomes, where given: their mean is the base rate
    """

    schema_version: int
    rows: int
    segment_rows: int
    segment_times: NDArray[np.int64]
    features: dict[str, NumericProfile | CategoryProfile]
    scores: NumericProfile | None
    labels: NumericProfile | None
    sample: Sample


def slots_of(values: NDArray[np.floating[Any]], edges: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The slot of each value, [rows].

    >>> slots_of(np.array([1.0, 1.5, 2.0, 0.0, 3.0, np.nan, -np.inf]), np.array([1.0, 2.0])).tolist()
    [0, 1, 1, 32, 33, 34, 35]
    """
    slots = np.searchsorted(edges, values, side="left").astype(np.uint8)
    slots[slots == len(edges)] = OVER
    if len(edges):
        slots[values < edges[0]] = UNDER
    slots[np.isnan(values)] = MISSING
    slots[np.isinf(values)] = INVALID
    return slots


def encode_profile(profile: ReferenceProfile) -> bytes:
    """MessagePack; arrays as little-endian bytes with dtype and shape."""
    return _encoder.encode(profile)


def decode_profile(data: bytes) -> ReferenceProfile:
    """Raises UnreadableProfile."""
    try:
        version = msgspec.msgpack.decode(data, type=_Version).schema_version
        if version > SCHEMA_VERSION:
            raise UnreadableProfile(f"it has schema version {version}; this Penstock reads up to {SCHEMA_VERSION}")
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableProfile(f"it is no reference profile: {error}") from error


class _Version(msgspec.Struct):
    schema_version: int


_encoder = msgspec.msgpack.Encoder(enc_hook=from_array)
_decoder = msgspec.msgpack.Decoder(ReferenceProfile, dec_hook=to_array)
