"""Streams in which a gate could err: rows with keys, their arms and their losses, drawn as a whole rollout at a time.

Every candidate is as good as the champion in expectation, or worse by exactly the margin. Arms are dealt out, and
keys grouped, by Penstock's own hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.gates.estimate import Outcomes, Source
from penstock.schemas.comparison import CellSums
from penstock.schemas.gates import KEY_GROUPS
from penstock.schemas.keys import group_of, points
from penstock.schemas.summaries import FIXED_POINT

Floats = NDArray[np.float64]

BUCKETS = 60
MARGINS: dict[Source, float] = {"paired": 0.005, "canary": 0.02}
DISAGREEMENT = 0.05
"""Share of the paired rows of which one model is right and the other is wrong."""
BASE = 0.2
"""Share of rows on which a model is wrong: its mean loss."""
RAMP = ((10, 0.01), (20, 0.05), (15, 0.25), (15, 0.5))
"""Buckets of a stage and its share of the keys."""


@dataclass(frozen=True)
class Setting:
    """What is special about a stream.

    rows          events per bucket, and
    blocks        in which they come
    keys          that they have, equally often, or
    uneven        some far more often than others
    key_spread    standard deviation over the keys of a key's own loss; paired: of its own difference
    day_spread    of a day's own difference of the models
    day_base      of a day's own loss
    heavy         losses are log-normal, with the standard deviation that they have elsewhere
    rising        the mean loss rises from BASE / 2 to 2 BASE over the rollout
    daily         and has a cycle within each bucket
    halfway       the share changes in the middle of a bucket, not between two
    maturity      labels count that come within so many times the candidate's mean delay; the champion's is a third of
                  it. Only labels that make the error at hand likelier are late. 0: all are there
    dependence    autoregression of the days' differences
    ramp          stages
    """

    rows: int = 4_096
    blocks: int = 2
    keys: int = 20_000
    uneven: bool = False
    key_spread: float = 0.0
    day_spread: float = 0.0
    day_base: float = 0.0
    heavy: bool = False
    rising: bool = False
    daily: bool = False
    halfway: bool = False
    maturity: float = 0.0
    dependence: float = 0.0
    ramp: tuple[tuple[int, float], ...] = RAMP


class Block(NamedTuple):
    """One block of a bucket, its candidate's and champion's cells; of paired rows the candidate's alone."""

    candidate: CellSums
    champion: CellSums | None


class Bucket(NamedTuple):
    """mixed: the share changed within it."""

    blocks: list[Block]
    outcomes: Outcomes | None
    mixed: bool


def shares_of(setting: Setting) -> Floats:
    """[buckets] shares of the keys."""
    shares = np.concatenate([np.full(count, share) for count, share in setting.ramp])
    return np.resize(shares, BUCKETS) if len(shares) >= BUCKETS else np.pad(shares, (0, BUCKETS - len(shares)), "edge")


def paired(setting: Setting, worse: float, rng: np.random.Generator) -> Iterator[Bucket]:
    """Differences of the losses of two models on the same rows, whose expectation is `worse`."""
    hashes, key = _keys(setting, rng)
    own = rng.normal(0, setting.key_spread, setting.keys)
    mean = worse + own[key] + _days(setting, rng)[:, None]
    if setting.heavy:
        loss = mean + np.sqrt(DISAGREEMENT) * _lognormal(rng, mean.shape)
    else:
        differ = np.maximum(DISAGREEMENT, np.abs(mean))
        drawn = rng.random(mean.shape) * 2
        loss = (drawn < differ + mean).astype(np.float64) - (drawn > 2 - (differ - mean))
    cells = _cells(group_of(hashes)[key] + _blocks(setting) * KEY_GROUPS, loss)
    for at in range(BUCKETS):
        blocks = range(at * setting.blocks, (at + 1) * setting.blocks)
        yield Bucket([Block(cells(block), None) for block in blocks], None, False)


def canary(setting: Setting, worse: float, rng: np.random.Generator) -> Iterator[Bucket]:
    """Losses of two models, each on the rows of its own keys; the candidate's expectation is higher by `worse`."""
    hashes, key = _keys(setting, rng)
    shares = shares_of(setting)
    before = np.concatenate([[0.0], shares[:-1]]) if setting.halfway else shares
    place = (np.arange(setting.rows, dtype=np.float32) + np.float32(0.5)) / np.float32(setting.rows)
    draw = points(hashes, "a rollout").astype(np.float64) / 2.0**64
    share = np.where(place < 0.5, before[:, None], shares[:, None]) if setting.halfway else shares[:, None]
    arm = draw.astype(np.float32)[key] < share.astype(np.float32)
    days: NDArray[Any] = (BASE + rng.normal(0, setting.day_base, BUCKETS)).astype(np.float32)[:, None]
    if setting.rising:
        days = BASE * (0.5 + 1.5 * (np.arange(BUCKETS, dtype=np.float32)[:, None] + place) / BUCKETS)
    if setting.daily:
        days = days * (1 + 0.5 * np.sin(2 * np.pi * place - np.pi))
    mean = days + arm * (worse + _days(setting, rng)).astype(np.float32)[:, None]
    if setting.key_spread:
        mean += _own_rates(setting, rng).astype(np.float32)[key]
    loss: NDArray[Any]
    if setting.heavy:
        loss = mean + np.sqrt(BASE * (1 - BASE)) * _lognormal(rng, mean.shape)
    else:
        loss = rng.random(mean.shape, np.float32) < mean
    index = group_of(hashes)[key] + (_blocks(setting) * 2 + arm) * KEY_GROUPS
    asked = answered = _by_arm(arm)
    if setting.maturity:
        known = _known(setting, loss, arm, worse, rng)
        answered = np.stack([(known & ~arm).sum(1), (known & arm).sum(1)], 1).cumsum(0)
        index, loss = index[known], loss[known]
    cells = _cells(index, loss)
    for at in range(BUCKETS):
        blocks = range(at * setting.blocks, (at + 1) * setting.blocks)
        outcomes = Outcomes(*(int(count[at, arm]) for arm in (0, 1) for count in (asked, answered)))
        pairs = [Block(cells(2 * block + 1), cells(2 * block)) for block in blocks]
        yield Bucket(pairs, outcomes, bool(before[at] != shares[at]))


def _keys(setting: Setting, rng: np.random.Generator) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Hashes of the keys; and [buckets, rows] which key each row has."""
    hashes = rng.integers(0, 2**64, setting.keys, np.uint64)
    if not setting.uneven:
        return hashes, rng.integers(0, setting.keys, (BUCKETS, setting.rows), np.int32)
    activity = rng.lognormal(0, 1, setting.keys).cumsum()
    drawn = rng.random((BUCKETS, setting.rows)) * activity[-1]
    return hashes, activity.searchsorted(drawn).astype(np.int32)


def _blocks(setting: Setting) -> NDArray[np.intp]:
    """[buckets, rows] each row's block."""
    of_a_bucket = np.arange(setting.rows) * setting.blocks // setting.rows
    return np.arange(BUCKETS)[:, None] * setting.blocks + of_a_bucket


def _by_arm(arm: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[buckets, 2] rows of champion and candidate until the end of each bucket."""
    candidates = arm.sum(1)
    return np.stack([arm.shape[1] - candidates, candidates], 1).cumsum(0)


def _own_rates(setting: Setting, rng: np.random.Generator) -> Floats:
    """[keys] a key's own loss less the mean: a beta distribution's, so that rates stay between 0 and 1."""
    if not setting.key_spread:
        return np.zeros(setting.keys)
    concentration = BASE * (1 - BASE) / setting.key_spread**2 - 1
    return rng.beta(BASE * concentration, (1 - BASE) * concentration, setting.keys) - BASE


def _days(setting: Setting, rng: np.random.Generator) -> Floats:
    """[buckets] a day's own difference."""
    days = rng.normal(0, setting.day_spread, BUCKETS)
    for at in range(1, BUCKETS if setting.dependence else 0):
        days[at] = setting.dependence * days[at - 1] + np.sqrt(1 - setting.dependence**2) * days[at]
    return days


def _lognormal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Mean 0, variance 1, skewness 6."""
    drawn: Floats = (rng.lognormal(0, 1, shape) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)
    return drawn


def _known(
    setting: Setting, loss: NDArray[Any], arm: NDArray[np.bool_], worse: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Rows whose label came in time: late are failures where the candidate is worse, else successes."""
    late = (loss > 0) if worse else (loss == 0)
    delay = rng.exponential(np.where(arm, 1.0, 1 / 3))
    return ~late | (delay < setting.maturity)


def _cells(index: NDArray[np.intp], loss: NDArray[Any]) -> Callable[[int], CellSums]:
    """Number of some cells → the rows whose index lies within them."""
    size = (int(index.max()) // KEY_GROUPS + 2) * KEY_GROUPS
    rows = np.bincount(index.ravel(), minlength=size).reshape(-1, KEY_GROUPS)
    if loss.dtype == np.bool_:
        wholes = np.bincount(index[loss], minlength=size).reshape(-1, KEY_GROUPS)
        losses = np.stack([wholes, np.zeros_like(wholes)], -1)
    else:
        sums = np.bincount(index.ravel(), loss.ravel(), size).reshape(-1, KEY_GROUPS)
        floors = np.floor(sums)
        losses = np.stack([floors, (sums - floors) * FIXED_POINT], -1).astype(np.int64)
    return lambda at: CellSums(rows[at], losses[at])
