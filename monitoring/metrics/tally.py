"""What a worker did since it last spoke of itself: the figures of its next reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from penstock.schemas.operations import OperationalReading, VariantReading

_LATE = 0.99


@dataclass(slots=True)
class _Calls:
    model: str
    rows: int = 0
    non_finite: int = 0
    failed: int = 0
    calls: int = 0
    seconds: float = 0.0

    def reading(self) -> VariantReading:
        took_us = round(self.seconds * 1e6)
        return VariantReading(self.model, self.rows, self.non_finite, self.failed, self.calls, took_us)


class Tally:
    """Counts between two readings; one worker, one thread.

    >>> tally = Tally("score", "here:1", now=1_000)
    >>> tally.window(rows=90, dead_letters=[("decode", "not_json")])
    >>> tally.latency(0.004, rows=91)
    >>> reading = tally.reading(now=11_000, partitions=(0, 1))
    >>> reading.events, reading.dead_letters, reading.latency_ms
    (91, {'decode': 1}, 4.0)
    >>> tally.reading(now=21_000).events
    0
    """

    def __init__(self, role: str, worker: str, *, now: int) -> None:
        self._role, self._worker, self._since = role, worker, now
        self._clear()

    def _clear(self) -> None:
        self._events = self._non_finite = self._windows = self._outages = 0
        self._dead_letters: Counter[str] = Counter()
        self._latencies: list[tuple[float, int]] = []
        self._variants: dict[str, _Calls] = {}

    def window(self, *, rows: int, dead_letters: Sequence[tuple[str, str]] = ()) -> None:
        """An inference call: `rows` that went on, and dead letters as (stage, error)."""
        self._windows += 1
        self._events += rows + len(dead_letters)
        for stage, error in dead_letters:
            self._dead_letters[stage] += 1
            self._non_finite += (stage, error) == ("score", "not_finite")  # the model's, not an event's

    def variant(
        self, variant: str, model: str, *, rows: int, seconds: float, non_finite: int = 0, failed: int = 0
    ) -> None:
        """A call of a variant's model. When another model takes its place, the variant's figures begin anew."""
        calls = self._variants.get(variant)
        if calls is None or calls.model != model:
            calls = self._variants[variant] = _Calls(model)
        calls.rows += rows
        calls.non_finite += non_finite
        calls.failed += failed
        calls.calls += 1
        calls.seconds += seconds

    def outage(self) -> None:
        """A window for which Redis did not answer in time."""
        self._outages += 1

    def latency(self, seconds: float, rows: int) -> None:
        """Of the oldest of so many rows."""
        self._latencies.append((seconds, rows))

    def reading(
        self, *, now: int, partitions: Sequence[int] = (), behind_ms: int = 0, label_age_ms: int | None = None
    ) -> OperationalReading:
        """The figures since the last reading; they begin anew. `now` is Unix ms."""
        reading = OperationalReading(
            self._role,
            self._worker,
            now,
            now - self._since,
            tuple(partitions),
            self._events,
            dict(self._dead_letters),
            self._non_finite,
            self._slowest_ms(),
            behind_ms,
            self._windows,
            self._outages,
            label_age_ms,
            {variant: calls.reading() for variant, calls in self._variants.items()},
        )
        self._since = now
        self._clear()
        return reading

    def _slowest_ms(self) -> float | None:
        """Under which 99 % of the rows stayed, each as slow as the oldest of its window."""
        left = sum(rows for _, rows in self._latencies) * (1 - _LATE)
        for seconds, rows in sorted(self._latencies, reverse=True):
            left -= rows
            if left < 0:
                return round(seconds * 1000, 3)
        return None
