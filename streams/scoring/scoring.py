"""One window's way to its models: records → columns → looked-up features.

Nothing here knows Faust or a broker. `penstock.streams.scoring.answering` asks the models, and
`penstock.streams.scoring.outputs` turns what comes out into records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from penstock.models.features import Catalogue
from penstock.models.resolution import RejectedRow, resolve
from penstock.models.runtime import Scores
from penstock.monitoring.metrics.score import ScoreMetrics
from penstock.schemas.columns import Columns, Floats
from penstock.schemas.events import Codec, ConsumedRecord, DecodedEvents, Rejection
from penstock.schemas.predictions import Answered
from penstock.schemas.records import ModelRef
from penstock.streams.features.store import FeatureStore

T = TypeVar("T")


class Run(NamedTuple):
    """A window's records from one partition: positions [start, stop) in the window."""

    topic: str
    partition: int
    start: int
    stop: int


@dataclass(slots=True)
class Window:
    """A window on its way. Rows are the events accepted so far; `dead` are the others.

    ages       [rows, R] float32 seconds, of the looked-up features
    defaulted  [rows, len(layout.names)] bool
    revision   of the control record by which it was scored
    answered   what answered rows of it, once scored
    codes      [rows] places in `answered`; None: the first answered all
    scores     of the rows, once scored; rows in `failures` have none
    failures   row → why the model that it was sent to could not score it
    tried      the fallback, where it was asked about rows that the model they were sent to did not score
    row_s      seconds of the models' calls per row, [rows] where rows differ
    runtime    what computed the scores
    """

    runs: Sequence[Run]
    records: Sequence[ConsumedRecord]
    events: DecodedEvents
    ages: Floats
    defaulted: NDArray[np.bool_]
    dead: list[Rejection]
    revision: int = 0
    answered: tuple[Answered, ...] = ()
    codes: NDArray[np.int32] | None = None
    scores: Scores | None = None
    failures: dict[int, Exception] = field(default_factory=dict)
    tried: ModelRef | None = None
    row_s: float | NDArray[np.float64] = 0.0
    runtime: str = ""

    @property
    def rows(self) -> int:
        return self.events.rows

    def took_us(self, rows: NDArray[np.intp]) -> int:
        """Microseconds of the models' calls for these rows."""
        seconds = self.row_s * len(rows) if isinstance(self.row_s, float) else float(self.row_s[rows].sum())
        return round(seconds * 1e6)

    def answer_of(self, row: int) -> Answered:
        """What answered the row, or could not."""
        return self.answered[0 if self.codes is None else int(self.codes[row])]


KILLS = Rejection(
    0,
    "score",
    "kills_the_worker",
    "Workers died without a word while they scored this event alone: killed by a signal, as by a crash in a native "
    "library or where there is no memory left.",
)
"""Of an event that is given up. Which model killed, if one did, nobody could say any more."""


class Scoring:
    """Decodes windows and looks their features up."""

    def __init__(self, *, codec: Codec, catalogue: Catalogue, store: FeatureStore, metrics: ScoreMetrics) -> None:
        self._codec, self._catalogue, self._store, self._metrics = codec, catalogue, store, metrics

    async def prepare(self, runs: Sequence[Run], records: Sequence[ConsumedRecord]) -> Window:
        """Decode the records, look their features up, and let the catalogue say what stands in for what is missing."""
        with self._metrics.stage("decode"):
            partitions: list[int] = []
            for run in runs:
                partitions += [run.partition] * (run.stop - run.start)
            events = self._codec.decode(records, partitions)
        with self._metrics.stage("features"):
            found = await self._store.look_up(events)
            resolution = resolve(
                self._catalogue, events.columns, found.written, found.malformed, events.times, found.unanswered
            )
        if found.asked:
            self._metrics.redis_answered(found.outage is None)
        self._metrics.count_gaps(resolution.counts)
        window = Window(runs, records, events, resolution.ages, resolution.defaulted, list(events.rejected))
        if resolution.rejected:
            _reject(window, resolution.rejected)
        return window

    def give_up(self, run: Run, records: Sequence[ConsumedRecord]) -> Window:
        """The window of an event that kills whoever scores it: not even decoded, it is a dead letter."""
        layout = self._catalogue.layout
        nothing = DecodedEvents(
            accepted=np.empty(0, np.intp),
            ids=[],
            times=np.empty(0, np.int64),
            keys=[],
            columns=Columns.missing(layout, 0),
            key_parts={},
            rejected=[],
        )
        ages = np.empty((0, len(self._catalogue.looked_up_features)), np.float32)
        return Window([run], records, nothing, ages, np.empty((0, len(layout.names)), np.bool_), [KILLS])


def _reject(window: Window, rejected: Sequence[RejectedRow]) -> None:
    """Take rows out of the window that the catalogue does not let pass."""
    events = window.events
    window.dead += [
        Rejection(int(events.accepted[row]), "features", f"{reason}_feature", f"The feature {feature} is {reason}.")
        for row, feature, reason in rejected
    ]
    kept = np.delete(np.arange(events.rows), [bad.row for bad in rejected])
    window.events = DecodedEvents(
        accepted=events.accepted[kept],
        ids=select(events.ids, kept),
        times=events.times[kept],
        keys=select(events.keys, kept),
        columns=events.columns.take(kept),
        key_parts={},
        rejected=[],
    )
    window.ages, window.defaulted = window.ages[kept], window.defaulted[kept]


def dense(rows: NDArray[np.intp]) -> bool:
    """Whether `rows`, ascending, leave nothing out between the first and the last."""
    return int(rows[-1]) - int(rows[0]) + 1 == len(rows)


def select(values: Sequence[T], rows: NDArray[np.intp]) -> list[T]:
    """The values at `rows`, ascending; a slice where nothing is left out."""
    return list(values[int(rows[0]) : int(rows[-1]) + 1]) if len(rows) and dense(rows) else [values[i] for i in rows]
