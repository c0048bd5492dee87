"""One window's life: records → columns → looked-up features → scores → outputs, partition by partition.

Nothing here knows Faust or a broker: a window comes in as runs of records, and goes out as records to write. Every
event ends in exactly one of them: a prediction or a dead letter.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import attrgetter
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from penstock.models.features import Catalogue
from penstock.models.resolution import RejectedRow, resolve
from penstock.models.runtime import Runtime, Scores
from penstock.monitoring.metrics import ScoreMetrics
from penstock.schemas.columns import Category, Columns, Floats
from penstock.schemas.dead_letters import DeadLetter, Header
from penstock.schemas.events import Codec, ConsumedRecord, DecodedEvents, Rejection
from penstock.schemas.predictions import PredictionEncoder
from penstock.schemas.records import PREDICTION_SCHEMA
from penstock.schemas.scored import RowTooLarge, ScoredBlock, encode
from penstock.schemas.topics import Topics
from penstock.streams.delivery import OutputRecord
from penstock.streams.feature_store import FeatureStore

T = TypeVar("T")

CHAMPION = "champion"
PREDICTION_LIMIT = 1_000_000
"""Bytes of a prediction with the event's key and headers: what fits into a record of any Kafka's default size."""
_RECORD_OVERHEAD = 1024
"""Bytes that a batch and a record add to key, value and headers, at most."""

Records = dict[str, list[OutputRecord]]
"""Topic → the records to write to it, in order."""


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
    scores     of the rows, once scored; rows in `failures` have none
    failures   row → why the model could not score it
    """

    runs: Sequence[Run]
    records: Sequence[ConsumedRecord]
    events: DecodedEvents
    ages: Floats
    defaulted: NDArray[np.bool_]
    dead: list[Rejection]
    runtime: Runtime | None = None
    scores: Scores | None = None
    failures: dict[int, Exception] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return self.events.rows


class Scoring:
    """Turns windows of records into outputs.

    `prepare` awaits Redis, `score` blocks a thread for the model, `outputs` computes: the role overlaps the three.
    """

    def __init__(
        self,
        *,
        codec: Codec,
        catalogue: Catalogue,
        store: FeatureStore,
        topics: Topics,
        metrics: ScoreMetrics,
        log_scored: bool = True,
    ) -> None:
        self._codec, self._catalogue, self._store = codec, catalogue, store
        self._topics, self._metrics, self._log_scored = topics, metrics, log_scored
        self._aged = tuple(feature.name for feature in catalogue.looked_up_features)
        self._withheld = frozenset(feature.name for feature in catalogue.features if feature.sensitive)
        self._encoder = PredictionEncoder(catalogue.layout.names)

    async def prepare(self, runs: Sequence[Run], records: Sequence[ConsumedRecord]) -> Window:
        """Decode the records, look their features up, and let the catalogue say what stands in for what is missing."""
        with self._metrics.stage("decode"):
            partitions = [run.partition for run in runs for _ in range(run.start, run.stop)]
            events = self._codec.decode(records, partitions)
        with self._metrics.stage("features"):
            found = await self._store.look_up(events)
            resolution = resolve(self._catalogue, events.columns, found.written, found.malformed, events.times)
        if found.outage is not None:
            self._metrics.count_outage()
        self._metrics.count_gaps(resolution.counts)
        window = Window(runs, records, events, resolution.ages, resolution.defaulted, list(events.rejected))
        if resolution.rejected:
            _reject(window, resolution.rejected)
        return window

    def score(self, window: Window, runtime: Runtime) -> Window:
        """Ask the model. Rows on which it fails become dead letters; when it fails on every row, that is raised."""
        with self._metrics.stage("score"):
            window.runtime = runtime
            if window.rows:
                window.scores, window.failures = score_apart(runtime, window.events.columns)
        return window

    def outputs(self, window: Window, revision: int) -> list[Records]:
        """The records to write for each run of the window, in the order of its events."""
        with self._metrics.stage("encode"):
            unscored = _unscored(window)
            return [self._outputs_of(run, window, revision, window.dead + unscored) for run in window.runs]

    def _outputs_of(self, run: Run, window: Window, revision: int, rejected: Sequence[Rejection]) -> Records:
        dead = [bad for bad in rejected if run.start <= bad.position < run.stop]
        first, last = np.searchsorted(window.events.accepted, (run.start, run.stop)).tolist()
        rows = _but(np.arange(first, last), window, dead)
        predictions: list[OutputRecord] = []
        scored: list[OutputRecord] = []
        while len(rows):
            predictions, too_large = self._predictions(run, window, rows, revision)
            if not too_large and self._log_scored:
                scored, too_large = self._scored(run, window, rows, revision)
            if not too_large:
                break
            dead += too_large
            predictions, rows = [], _but(rows, window, too_large)
        self._metrics.count_window(rows=len(rows), dead_letters=[(bad.stage, bad.error) for bad in dead])
        dead.sort(key=lambda bad: bad.position)
        return {
            self._topics.predictions.name: predictions,
            self._topics.scored.name: scored,
            self._topics.dead_letters.name: [self._dead_letter(run, window, bad) for bad in dead],
        }

    def _predictions(
        self, run: Run, window: Window, rows: NDArray[np.intp], revision: int
    ) -> tuple[list[OutputRecord], list[Rejection]]:
        events, scores, model = window.events, _scores(window), _runtime(window).model
        sources = _sources(window, rows)
        values = self._encoder.encode(
            model,
            CHAMPION,
            revision,
            ids=_at(events.ids, rows),
            score=scores.score[rows],
            scores=None if scores.scores is None else scores.scores[rows],
            event_times=events.times[rows],
            partition=run.partition,
            offsets=_offsets(sources),
            defaulted=window.defaulted[rows],
        )
        keys = [source.key for source in sources]
        headers = _headers(sources)
        records: list[OutputRecord] = list(zip(keys, values, headers, strict=False))
        if isinstance(headers, repeat) and max(map(len, values)) <= PREDICTION_LIMIT // 2:
            return records, []
        too_large = [
            Rejection(
                int(events.accepted[row]),
                "encode",
                "too_large",
                f"The prediction takes {size} bytes with the event's key and headers; {PREDICTION_LIMIT} are allowed.",
            )
            for row, record in zip(rows.tolist(), records, strict=True)
            if (size := _size(record)) > PREDICTION_LIMIT
        ]
        return records, too_large

    def _scored(
        self, run: Run, window: Window, rows: NDArray[np.intp], revision: int
    ) -> tuple[list[OutputRecord], list[Rejection]]:
        events, scores, runtime = window.events, _scores(window), _runtime(window)
        sources = _sources(window, rows)
        everything: slice | NDArray[np.intp] = slice(int(rows[0]), int(rows[-1]) + 1) if _dense(rows) else rows
        one = np.zeros(len(rows), np.int32)
        block = ScoredBlock(
            ids=_at(events.ids, rows),
            keys=_at(events.keys, rows),
            offsets=_offsets(sources),
            event_times=events.times[rows],
            timestamps=np.fromiter(map(attrgetter("timestamp"), sources), np.int64, len(rows)),
            columns=events.columns.take(everything),
            aged=self._aged,
            ages=window.ages[everything],
            defaulted=window.defaulted[everything],
            score=scores.score[everything],
            scores=None if scores.scores is None else scores.scores[everything],
            variants=Category(one, (CHAMPION,)),
            models=Category(one, (str(runtime.model),)),
            routing_revisions=np.full(len(rows), revision, np.int64),
            partition=run.partition,
            scored_at=time.time_ns() // 1_000_000,
            runtime=runtime.description,
        )
        try:
            encoded = encode(block, self._withheld)
        except RowTooLarge as error:
            row = int(rows[int(np.searchsorted(block.offsets, error.offset))])
            return [], [Rejection(int(events.accepted[row]), "encode", "too_large", str(error))]
        return [(None, record.value, record.headers) for record in encoded], []

    def _dead_letter(self, run: Run, window: Window, bad: Rejection) -> OutputRecord:
        source = window.records[bad.position]
        model = str(window.runtime.model) if bad.stage == "score" and window.runtime else None
        letter = DeadLetter.of(source, run.topic, run.partition, bad.stage, bad.error, bad.message, model)
        limit = self._topics.dead_letters.max_message_bytes - _RECORD_OVERHEAD
        record = letter.to_record()
        return record if _size(record) <= limit else letter.without_value().to_record()


def score_apart(runtime: Runtime, columns: Columns) -> tuple[Scores, dict[int, Exception]]:
    """The model's scores, and the rows on which it fails, found by halving: one bad row never fails its neighbours.

    Raises what the model raised when it fails on every one of several rows: then the model is at fault, not the rows.
    """
    failures: dict[int, Exception] = {}

    def attempt(start: int, stop: int) -> list[Scores]:
        try:
            return [runtime.score(columns.take(slice(start, stop)))]
        except Exception as error:
            if stop - start == 1:
                failures[start] = error
                nothing = np.full(1, np.nan, np.float32)
                return [Scores(nothing, None, np.zeros(1, np.bool_))]
            middle = (start + stop) // 2
            return attempt(start, middle) + attempt(middle, stop)

    parts = attempt(0, columns.rows)
    if len(failures) == columns.rows > 1:
        raise failures[0]
    return (parts[0] if len(parts) == 1 else _joined(parts)), failures


def _joined(parts: Sequence[Scores]) -> Scores:
    width = max((part.scores.shape[1] for part in parts if part.scores is not None), default=0)
    vectors = [
        np.full((len(part.score), width), np.nan, np.float32) if part.scores is None else part.scores for part in parts
    ]
    return Scores(
        np.concatenate([part.score for part in parts]),
        np.concatenate(vectors) if width else None,
        np.concatenate([part.finite for part in parts]),
    )


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
        ids=_at(events.ids, kept),
        times=events.times[kept],
        keys=_at(events.keys, kept),
        columns=events.columns.take(kept),
        key_parts={},
        rejected=[],
    )
    window.ages, window.defaulted = window.ages[kept], window.defaulted[kept]


def _unscored(window: Window) -> list[Rejection]:
    """Rows that the model failed on, or to which it gave a score that is no number."""
    if window.scores is None or window.scores.finite.all():
        return []
    model, accepted = _runtime(window).model, window.events.accepted
    return [
        Rejection(int(accepted[row]), "score", "model_failed", f"{model} failed: {type(error).__name__}: {error}")
        if (error := window.failures.get(row)) is not None
        else Rejection(int(accepted[row]), "score", "not_finite", f"{model} gave a score that is NaN or infinite.")
        for row in np.flatnonzero(~window.scores.finite).tolist()
    ]


def _but(rows: NDArray[np.intp], window: Window, dead: Sequence[Rejection]) -> NDArray[np.intp]:
    if not dead:
        return rows
    return rows[~np.isin(window.events.accepted[rows], [bad.position for bad in dead])]


def _dense(rows: NDArray[np.intp]) -> bool:
    return int(rows[-1]) - int(rows[0]) + 1 == len(rows)


def _at(values: Sequence[T], rows: NDArray[np.intp]) -> list[T]:
    return list(values[int(rows[0]) : int(rows[-1]) + 1]) if len(rows) and _dense(rows) else [values[i] for i in rows]


def _sources(window: Window, rows: NDArray[np.intp]) -> list[ConsumedRecord]:
    return _at(window.records, window.events.accepted[rows])


def _offsets(sources: Sequence[ConsumedRecord]) -> NDArray[np.int64]:
    return np.fromiter(map(attrgetter("offset"), sources), np.int64, len(sources))


def _headers(sources: Sequence[ConsumedRecord]) -> Iterable[Sequence[Header]]:
    """Those of the predictions: the event's own, then the schema. Mostly events have none: then all share one list."""
    own = [source.headers for source in sources]
    plain = [PREDICTION_SCHEMA]
    return [[*headers, *plain] for headers in own] if any(own) else repeat(plain)


def _size(record: OutputRecord) -> int:
    """Bytes of a record, with a little over for the lengths in between."""
    key, value, headers = record
    return len(key or b"") + len(value or b"") + sum(len(name) + len(text or b"") + 10 for name, text in headers)


def _scores(window: Window) -> Scores:
    if window.scores is None:
        raise ValueError("the window was not scored")
    return window.scores


def _runtime(window: Window) -> Runtime:
    if window.runtime is None:
        raise ValueError("the window was not scored")
    return window.runtime
