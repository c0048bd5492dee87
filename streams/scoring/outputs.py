"""What a scored window becomes: predictions, rows of the scored log and dead letters, partition by partition.

Every event ends in exactly one of: a prediction, for consumers or for people to review, which the log repeats with its
features; a row of the log alone, where people act without the model; a dead letter.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import repeat
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.models.features import Catalogue
from penstock.models.runtime import Scores
from penstock.monitoring.metrics.score import ScoreMetrics
from penstock.schemas.columns import Category, Codes, Floats
from penstock.schemas.dead_letters import DeadLetter, Header
from penstock.schemas.events import Rejection
from penstock.schemas.predictions import PredictionEncoder
from penstock.schemas.records import PREDICTION_SCHEMA, REVIEW_HEADER, ModelRef
from penstock.schemas.scored import RowTooLarge, ScoredBlock
from penstock.schemas.sealing import SecretKey
from penstock.schemas.topics import Topics
from penstock.streams.delivery import OutputRecord, bytes_of
from penstock.streams.letters import Letters
from penstock.streams.scoring.automation import FULL, Automation
from penstock.streams.scoring.scored_log import ScoredLog
from penstock.streams.scoring.scoring import Run, Window, dense, select

PREDICTION_LIMIT = 1_000_000
"""Bytes of a prediction with the event's key and headers: what fits into a record of any Kafka's default size."""

_KEY, _VALUE, _HEADERS = attrgetter("key"), attrgetter("value"), attrgetter("headers")
_OFFSET, _TIMESTAMP = attrgetter("offset"), attrgetter("timestamp")
FEW_ROWS = 256
"""The predictions of a window that has no more are encoded in one go, whatever partitions they go to: for a few rows of
each, what is the same for all rows costs more than they do."""

Records = dict[str, list[OutputRecord]]
"""Topic → the records to write to it, in order."""


class Made(NamedTuple):
    """What came of a run of a window: records to write at once, and rows for the scored log."""

    records: Records
    scored: ScoredBlock | None


class Sources(NamedTuple):
    """The records that rows come from, column by column."""

    keys: list[bytes | None]
    headers: list[Sequence[Header]]
    offsets: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    sizes: NDArray[np.int32]

    @classmethod
    def of(cls, window: Window, rows: NDArray[np.intp]) -> Sources:
        records = select(window.records, window.events.accepted[rows])
        count = len(records)
        return cls(
            list(map(_KEY, records)),
            list(map(_HEADERS, records)),
            np.fromiter(map(_OFFSET, records), np.int64, count),
            np.fromiter(map(_TIMESTAMP, records), np.int64, count),
            np.fromiter([len(value or b"") for value in map(_VALUE, records)], np.int32, count),
        )

    def between(self, first: int, last: int) -> Sources:
        """Rows [first, last) of these."""
        return Sources(
            self.keys[first:last],
            self.headers[first:last],
            self.offsets[first:last],
            self.timestamps[first:last],
            self.sizes[first:last],
        )

    def prediction_headers(self, *more: Header) -> Iterable[Sequence[Header]]:
        """The event's own, then the schema. Mostly events have none: then all share one list."""
        plain = [PREDICTION_SCHEMA, *more]
        return [[*own, *plain] for own in self.headers] if any(self.headers) else repeat(plain)


class Encoded(NamedTuple):
    """The predictions of all rows of a window, and where they come from."""

    sources: Sources
    values: list[bytes]


class OutputEncoder:
    """Writes the outputs of windows scored on one catalogue. Without `log_scored` there is no scored log.

    `automation` says which predictions are published, and which go to people; `letter_key` encrypts dead letters.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        topics: Topics,
        metrics: ScoreMetrics,
        *,
        log_scored: bool = True,
        automation: Automation = FULL,
        letter_key: SecretKey | None = None,
    ) -> None:
        self._topics, self._metrics, self._automation = topics, metrics, automation
        self._letters = Letters(topics.dead_letters, letter_key)
        self._aged = tuple(feature.name for feature in catalogue.looked_up_features)
        withheld = frozenset(feature.name for feature in catalogue.features if feature.sensitive)
        self.log = ScoredLog(topics.scored.name, withheld) if log_scored else None
        self._encoder = PredictionEncoder(catalogue.layout.names)

    def warm_up(self) -> None:
        """Encode a made-up prediction: Arrow loads pandas at its first use, half a second that no event should wait."""
        zero = np.zeros(1, np.int64)
        self._encoder.encode(
            ModelRef("warm-up", 1),
            "warm-up",
            0,
            ids=["warm-up"],
            score=np.zeros(1, np.float32),
            scores=None,
            event_times=zero,
            partition=0,
            offsets=zero,
        )

    def encode(self, window: Window) -> list[Made]:
        """What to write for each run of the window, in the order of its events."""
        with self._metrics.stage("encode"):
            unscored = _unscored(window, discreet=self._letters.key is not None)
            rejected = window.dead + unscored
            encoded = self._all_at_once(window) if not rejected else None
            made = [self._outputs_of(run, window, rejected, encoded) for run in window.runs]
        ended = [(bad.stage, bad.error) for _, dead in made for bad in dead]
        withheld = not self._automation.publishes
        if self._automation.reviews:
            reviewed = sum(len(outputs.records.get(self._topics.review.name, ())) for outputs, _ in made)
            self._metrics.count_reviews(self._automation.reason, reviewed)
        self._metrics.count_window(rows=len(window.records) - len(ended), dead_letters=ended, withheld=withheld)
        return [outputs for outputs, _ in made]

    def _all_at_once(self, window: Window) -> Encoded | None:
        if len(window.runs) == 1 or not 0 < window.rows <= FEW_ROWS or not self._automation.publishes:
            return None
        rows = np.arange(window.rows)
        sources = Sources.of(window, rows)
        partitions = [run.partition for run in window.runs for _ in range(run.start, run.stop)]
        return Encoded(sources, self._values(window, rows, sources, partitions))

    def _outputs_of(
        self, run: Run, window: Window, rejected: Sequence[Rejection], encoded: Encoded | None
    ) -> tuple[Made, list[Rejection]]:
        dead = [bad for bad in rejected if run.start <= bad.position < run.stop]
        first, last = np.searchsorted(window.events.accepted, (run.start, run.stop)).tolist()
        rows = _but(np.arange(first, last), window, dead)
        records: Records = {}
        scored: ScoredBlock | None = None
        while len(rows):
            whole = encoded if len(rows) == last - first else None
            sources = Sources.of(window, rows) if whole is None else whole.sources.between(first, last)
            too_large: list[Rejection] = []
            if self._automation.publishes:
                values = None if whole is None else whole.values[first:last]
                values = values or self._values(window, rows, sources, run.partition)
                records, too_large = self._predictions(window, rows, sources, values)
            if not too_large and self.log is not None:
                scored, too_large = self._scored(self.log, run, window, rows, sources)
            if not too_large:
                break
            dead += too_large
            records, rows = {}, _but(rows, window, too_large)
        dead.sort(key=lambda bad: bad.position)
        records[self._topics.dead_letters.name] = [self._dead_letter(run, window, bad) for bad in dead]
        return Made(records, scored), dead

    def _values(
        self, window: Window, rows: NDArray[np.intp], sources: Sources, partition: int | Sequence[int]
    ) -> list[bytes]:
        events, scores = window.events, _scores(window)
        return self._encoder.encode_mixed(
            window.answered,
            None if window.codes is None else window.codes[rows],
            window.revision,
            ids=select(events.ids, rows),
            score=scores.score[rows],
            scores=None if scores.scores is None else scores.scores[rows],
            event_times=events.times[rows],
            partition=partition,
            offsets=sources.offsets,
            defaulted=window.defaulted[rows],
        )

    def _predictions(
        self, window: Window, rows: NDArray[np.intp], sources: Sources, values: list[bytes]
    ) -> tuple[Records, list[Rejection]]:
        """By topic: those to act on, and those for people to review."""
        events = window.events
        headers = sources.prediction_headers()
        records: list[OutputRecord] = list(zip(sources.keys, values, headers, strict=False))
        if not isinstance(headers, repeat) or max(map(len, values)) > PREDICTION_LIMIT // 2:
            too_large = [
                Rejection(
                    int(events.accepted[row]),
                    "encode",
                    "too_large",
                    f"The prediction takes {size} bytes with the event's key and headers; "
                    f"{PREDICTION_LIMIT} are allowed.",
                )
                for row, record in zip(rows.tolist(), records, strict=True)
                if (size := bytes_of(record)) > PREDICTION_LIMIT
            ]
            if too_large:
                return {}, too_large
        return self._divided(records, _scores(window).score[rows]), []

    def _divided(self, records: list[OutputRecord], score: Floats) -> Records:
        if not self._automation.reviews:
            return {self._topics.predictions.name: records}
        people = self._automation.for_people(score).tolist()
        why = (REVIEW_HEADER, self._automation.reason.encode())
        both = list(zip(records, people, strict=True))
        return {
            self._topics.predictions.name: [record for record, reviewed in both if not reviewed],
            self._topics.review.name: [
                (key, value, [*headers, why]) for (key, value, headers), reviewed in both if reviewed
            ],
        }

    def _scored(
        self, log: ScoredLog, run: Run, window: Window, rows: NDArray[np.intp], sources: Sources
    ) -> tuple[ScoredBlock | None, list[Rejection]]:
        events, scores = window.events, _scores(window)
        everything: slice | NDArray[np.intp] = slice(int(rows[0]), int(rows[-1]) + 1) if dense(rows) else rows
        codes = np.zeros(len(rows), np.int32) if window.codes is None else window.codes[everything]
        block = ScoredBlock(
            ids=select(events.ids, rows),
            keys=select(events.keys, rows),
            offsets=sources.offsets,
            event_times=events.times[rows],
            timestamps=sources.timestamps,
            columns=events.columns.take(everything),
            aged=self._aged,
            ages=window.ages[everything],
            defaulted=window.defaulted[everything],
            score=scores.score[everything],
            scores=None if scores.scores is None else scores.scores[everything],
            variants=_named(codes, [answered.variant for answered in window.answered]),
            models=_named(codes, [str(answered.model) for answered in window.answered]),
            routing_revisions=np.full(len(rows), window.revision, np.int64),
            partition=run.partition,
            scored_at=time.time_ns() // 1_000_000,
            runtime=window.runtime,
            sizes=sources.sizes,
            took_us=window.took_us(rows),
        )
        try:
            log.check(block)
        except RowTooLarge as error:
            row = int(rows[int(np.searchsorted(block.offsets, error.offset))])
            return None, [Rejection(int(events.accepted[row]), "encode", "too_large", str(error))]
        return block, []

    def _dead_letter(self, run: Run, window: Window, bad: Rejection) -> OutputRecord:
        source = window.records[bad.position]
        model: str | None = None
        if bad.stage == "score" and window.answered:
            model = str(window.answer_of(int(np.searchsorted(window.events.accepted, bad.position))).model)
        letter = DeadLetter.of(source, run.topic, run.partition, bad.stage, bad.error, bad.message, model)
        return self._letters.record(letter)


def _unscored(window: Window, *, discreet: bool) -> list[Rejection]:
    """Rows on which a model failed, or to which it gave a score that is no number.

    A model's own error may quote what it was given: `discreet` says no more than its type.
    """
    if window.scores is None or np.count_nonzero(window.scores.finite) == window.rows:
        return []
    accepted, tried = window.events.accepted, window.tried
    too = "" if tried is None else f"; nor did the fallback {tried} score it"
    return [
        Rejection(int(accepted[row]), "score", "model_failed", f"{model} failed: {_told(error, discreet)}{too}")
        if (error := window.failures.get(row)) is not None
        else Rejection(int(accepted[row]), "score", "not_finite", f"{model} gave a score that is NaN or infinite{too}.")
        for row in np.flatnonzero(~window.scores.finite).tolist()
        for model in (window.answer_of(row).model,)
    ]


def _told(error: BaseException, discreet: bool) -> str:
    return type(error).__name__ if discreet else f"{type(error).__name__}: {error}"


def _named(codes: Codes, names: Sequence[str]) -> Category:
    """[rows] the names at `codes`, each name once among the values."""
    if len(names) == 1:
        return Category(codes, tuple(names))
    values = tuple(dict.fromkeys(names))
    return Category(np.array([values.index(name) for name in names], np.int32)[codes], values)


def _but(rows: NDArray[np.intp], window: Window, dead: Sequence[Rejection]) -> NDArray[np.intp]:
    if not dead:
        return rows
    return rows[~np.isin(window.events.accepted[rows], [bad.position for bad in dead])]


def _scores(window: Window) -> Scores:
    if window.scores is None:
        raise ValueError("the window was not scored")
    return window.scores
