"""Who answers the rows of a window: each the variant that its key is routed to, or the fallback in its stead.

A window whose rows all go to the champion is one call, and nothing is looked at row by row. Otherwise the rows are
divided by columns, each variant's model is asked about its own, and the answers are joined in order.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.models.runtime import Runtime, Scores
from penstock.monitoring.metrics.score import ScoreMetrics
from penstock.schemas.control import CHAMPION, FALLBACK
from penstock.schemas.keys import routing_keys
from penstock.schemas.predictions import Answered
from penstock.streams.scoring.hysteresis import Hysteresis
from penstock.streams.scoring.inference import Call, Inference
from penstock.streams.scoring.scoring import Window
from penstock.streams.scoring.serving import Serving

PATIENCE = 16
"""With a fallback to ask, a model that failed on so many rows and scored none is not asked about the others."""

log = logging.getLogger("penstock.score")


class Part(NamedTuple):
    """Rows of a window that one model is asked about; `rows` None: all."""

    answered: Answered
    runtime: Runtime
    rows: NDArray[np.intp] | None


class Answering:
    """Has windows scored as the control record says, with the fallback for when there is no time or a model fails.

    `queue_ms`, `leave_ms` and `hold_s` are those of the settings; `age_s` says how old an event is, by its broker
    timestamp in Unix ms; `clock` is what `hold_s` is measured on.
    """

    def __init__(
        self,
        inference: Inference,
        metrics: ScoreMetrics,
        *,
        queue_ms: float = 1_000.0,
        leave_ms: float = 200.0,
        hold_s: float = 1.0,
        age_s: Callable[[int], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inference, self._metrics, self._age_s = inference, metrics, age_s
        self._overload = Hysteresis(above=queue_ms, below=leave_ms, on_s=hold_s, off_s=hold_s, clock=clock)
        self._failing = Hysteresis(above=0, below=1, on_s=0, off_s=hold_s, clock=clock)
        self._watching = False
        """Whether there was a fallback for the window before."""

    async def answer(self, window: Window, serving: Serving) -> Window:
        """The window with its scores.

        Rows that no model could score stay without. Raises what the champion raised when it fails on all of its rows
        and on its golden rows, too, and no fallback answers: then no window is served until another worker takes over.
        """
        window.revision, window.runtime = serving.revision, serving.champion.description
        took_s = 0.0
        if window.rows:
            with self._inference.in_use():
                took_s = await self._answer(window, serving)
        self._metrics.observe_stage("score", took_s)
        return window

    async def _answer(self, window: Window, serving: Serving) -> float:
        """Seconds that the calls took."""
        fallback = serving.fallback
        if fallback is None and self._watching:
            self._forget()
        self._watching = fallback is not None
        if fallback is not None and self._overloaded(window, fallback):
            parts, second = [Part(Answered(FALLBACK, fallback.model, "overload"), fallback, None)], None
            self._metrics.count_fallback("overload", window.rows)
        else:
            parts, second = _parts(window, serving), fallback
        calls = [await self._ask(window, part, None if second is None else PATIENCE) for part in parts]
        _join(window, parts, calls)
        took_s = sum(call.took_s for call in calls)
        unscored = any(call.unscored for call in calls)
        if second is not None:
            self._tell_failing(second, window, failing=unscored)
            if unscored:
                took_s += await self._ask_instead(window, second)
        if unscored:
            _check_champion(window, parts, calls)
        return took_s

    async def _ask(self, window: Window, part: Part, patience: int | None) -> Call:
        columns = window.events.columns
        asked = columns if part.rows is None else columns.take(part.rows)
        call = await self._inference.ask(part.runtime, asked, patience=patience)
        self._count(part.answered, call)
        return call

    def _count(self, answered: Answered, call: Call) -> None:
        failed = len(call.failures)
        self._metrics.count_variant(
            answered.variant,
            str(answered.model),
            rows=len(call.scores.score),
            seconds=call.took_s,
            non_finite=call.unscored - failed,
            failed=failed,
        )

    async def _ask_instead(self, window: Window, fallback: Runtime) -> float:
        """Give the fallback the rows that have no score; seconds that it took."""
        scores = _scores(window)
        rows = np.flatnonzero(~scores.finite)
        reasons = ["failed" if row in window.failures else "not_finite" for row in rows.tolist()]
        call = await self._inference.ask(fallback, window.events.columns.take(rows))
        self._count(Answered(FALLBACK, fallback.model), call)
        if window.codes is None:
            window.codes = np.zeros(window.rows, np.int32)
        window.scores = _replaced(scores, rows, call.scores)
        window.tried = fallback.model
        row_s = np.full(window.rows, window.row_s) if isinstance(window.row_s, float) else window.row_s
        row_s[rows] += call.took_s / len(rows)
        window.row_s = row_s
        answered = call.scores.finite
        for reason in ("failed", "not_finite"):
            taken = rows[answered & (np.array(reasons) == reason)]
            if len(taken):
                window.codes[taken] = len(window.answered)
                window.answered = (*window.answered, Answered(FALLBACK, fallback.model, reason))
                self._metrics.count_fallback(reason, len(taken))
        for row in rows[answered].tolist():
            window.failures.pop(row, None)
        return call.took_s

    def _overloaded(self, window: Window, fallback: Runtime) -> bool:
        """Whether events have waited so long, for so long, that the fallback must answer."""
        oldest = min(window.records[run.start].timestamp for run in window.runs)
        delay_ms = self._age_s(oldest) * 1000
        before = self._overload.on
        after = self._overload.observe(delay_ms)
        if after != before:
            self._metrics.fallback_active("overload", after)
            does = "answers every event from now on" if after else "steps back"
            log.warning("%s %s: the oldest event waited %.0f ms.", fallback.model, does, delay_ms)
        return after

    def _tell_failing(self, fallback: Runtime, window: Window, *, failing: bool) -> None:
        before = self._failing.on
        after = self._failing.observe(failing)
        if after == before:
            return
        self._metrics.fallback_active("failed", after)
        if after:
            error = next(iter(window.failures.values()), "a score that is NaN or infinite")
            log.warning("%s answers from now on where other models fail: %s.", fallback.model, error)
        else:
            log.warning("%s steps back: the other models score again.", fallback.model)

    def _forget(self) -> None:
        """There is no fallback, whatever there was."""
        for switch, reason in ((self._overload, "overload"), (self._failing, "failed")):
            if switch.on:
                self._metrics.fallback_active(reason, False)
            switch.reset()


def _parts(window: Window, serving: Serving) -> list[Part]:
    """Which model is asked about which rows."""
    routing, runtimes = serving.routing, serving.runtimes
    if routing.sole:
        return [Part(Answered(CHAMPION, runtimes[0].model), runtimes[0], None)]
    events = window.events
    codes = routing.route(routing_keys(events.keys, events.ids, events.rows), events.columns)
    parts = []
    for code, (variant, runtime) in enumerate(zip(routing.variants, runtimes, strict=True)):
        rows = np.flatnonzero(codes == code)
        answered = Answered(variant, runtime.model)
        if len(rows) == events.rows:
            return [Part(answered, runtime, None)]
        if len(rows):
            parts.append(Part(answered, runtime, rows))
    return parts


def _join(window: Window, parts: Sequence[Part], calls: Sequence[Call]) -> None:
    """Write what the parts' models said into the window, in the order of its rows."""
    window.answered = tuple(part.answered for part in parts)
    if len(parts) == 1:
        [call] = calls
        window.scores, window.failures = call.scores, call.failures
        window.row_s = call.took_s / window.rows
        return
    codes, row_s = np.zeros(window.rows, np.int32), np.zeros(window.rows)
    scores = Scores(np.empty(window.rows, np.float32), None, np.empty(window.rows, np.bool_))
    for code, (part, call) in enumerate(zip(parts, calls, strict=True)):
        rows = np.arange(window.rows) if part.rows is None else part.rows
        codes[rows], row_s[rows] = code, call.took_s / len(rows)
        window.failures |= {int(rows[row]): error for row, error in call.failures.items()}
        scores = _replaced(scores, rows, call.scores)
    window.codes, window.row_s, window.scores = codes, row_s, scores


def _check_champion(window: Window, parts: Sequence[Part], calls: Sequence[Call]) -> None:
    """Raise what the champion raised, where it is at fault and nobody else scored any of its rows.

    Another variant's failure is its own share's matter; of the champion's, another worker may do better.
    """
    for part, call in zip(parts, calls, strict=True):
        if call.error is not None and part.answered.variant in (CHAMPION, FALLBACK):
            rows = slice(None) if part.rows is None else part.rows
            if not _scores(window).finite[rows].any():
                model = part.answered.model
                log.critical("%s fails on the golden rows of its package, too: the events are not to blame.", model)
                raise call.error


def _replaced(scores: Scores, rows: NDArray[np.intp], others: Scores) -> Scores:
    """`scores` with those of `others` [rows] at `rows`."""
    score, finite, vectors = scores.score.copy(), scores.finite.copy(), scores.scores
    score[rows], finite[rows] = others.score, others.finite
    if others.scores is not None:
        width = others.scores.shape[1]
        vectors = np.full((len(score), width), np.nan, np.float32) if vectors is None else vectors.copy()
        vectors[rows] = others.scores
    return Scores(score, vectors, finite)


def _scores(window: Window) -> Scores:
    if window.scores is None:
        raise RuntimeError("the window was not scored")
    return window.scores
