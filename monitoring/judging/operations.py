"""Whether the service itself is well: fixed rules with hysteresis over what the workers say about themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from penstock.monitoring.alarms import Alarm, Aspect, Family
from penstock.schemas.operations import OperationalReading


@dataclass(frozen=True)
class Rule:
    """An alarm as long as a figure is high: from `raise_at` for `readings` in a row, until it is below `clear_at`.

    figure   None: the reading says nothing about it, and what was known stays
    name     of the figure, for people
    """

    signal: str
    family: Family
    aspect: Aspect
    name: str
    figure: Callable[[OperationalReading], float | None]
    raise_at: float
    clear_at: float
    readings: int = 1


@dataclass(frozen=True)
class OperationsConfig:
    """From when on the service is not well.

    dead_letters   share of the events
    redis          share of the inference calls for which Redis did not answer in time
    latency_ms     that 99 % of the events stay under
    behind_s       age of the newest event done while others wait
    silent_s       without a word from the worker of a partition
    label_age_s    since a label was last read
    """

    dead_letters: float = 0.01
    redis: float = 0.1
    latency_ms: float = 1000.0
    behind_s: float = 60.0
    silent_s: float = 60.0
    label_age_s: float = 2 * 24 * 3600.0

    @property
    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule("non_finite", "numerics", "fault", "outputs", lambda reading: reading.non_finite, 1, 1),
            Rule(
                "dead_letters", "operations", "rate", "share", _dead_letters, self.dead_letters, self.dead_letters / 2
            ),
            Rule("redis", "operations", "fault", "share", _redis, self.redis, self.redis / 2),
            Rule(
                "latency", "operations", "above", "ms", lambda r: r.latency_ms, self.latency_ms, self.latency_ms / 2, 3
            ),
            Rule(
                "behind", "operations", "above", "s", lambda r: r.behind_ms / 1000, self.behind_s, self.behind_s / 3, 2
            ),
            Rule("label_age", "labels", "above", "s", _label_age, self.label_age_s, self.label_age_s / 2),
        )


class Watched(msgspec.Struct):
    """What is remembered of one rule at one worker."""

    value: float = 0.0
    high: int = 0
    on: bool = False
    time: int = 0


class Claim(msgspec.Struct):
    """Who last spoke for a partition, and when."""

    worker: str
    time: int


class Operations(msgspec.Struct):
    """The rules' state over all workers: bounded by the workers that speak and the partitions.

    >>> operations = Operations()
    >>> reading = OperationalReading("score", "a", 1357034400000, 10_000, events=200, dead_letters={"decode": 6})
    >>> [alarm] = operations.apply(reading, OperationsConfig())
    >>> alarm.signal, alarm.after
    ('dead_letters:score', {'share': 0.03, 'limit': 0.01, 'workers': 1.0})
    """

    now: int = 0
    watched: dict[tuple[str, str, str], Watched] = {}
    """(role, rule, worker) → state."""
    claims: dict[tuple[str, int], Claim] = {}
    """(role, partition) → who has it."""

    def apply(self, reading: OperationalReading, config: OperationsConfig) -> list[Alarm]:
        """The alarms that hold after this reading, of all workers."""
        if reading.time - self.now >= config.silent_s * 1000:
            # Nobody spoke: the whole service was stopped. Who does not come back is silent from now on.
            for claim in self.claims.values():
                claim.time = reading.time
        self.now = max(self.now, reading.time)
        for partition in reading.partitions:
            self.claims[reading.role, partition] = Claim(reading.worker, reading.time)
        for rule in config.rules:
            if (value := rule.figure(reading)) is not None:
                key = (reading.role, rule.signal, reading.worker)
                _follow(self.watched.setdefault(key, Watched()), rule, value, reading.time)
        known_ms = 1000 * config.silent_s  # of a silent worker, that it is silent is all that is known
        self.watched = {key: state for key, state in self.watched.items() if self.now - state.time < known_ms}
        return [*self._high(config.rules), *self._silent(config.silent_s)]

    def _high(self, rules: tuple[Rule, ...]) -> Iterator[Alarm]:
        for rule in rules:
            for role in sorted({role for role, signal, _ in self.watched if signal == rule.signal}):
                high = [
                    state.value
                    for (its_role, signal, _), state in self.watched.items()
                    if (its_role, signal) == (role, rule.signal) and state.on
                ]
                if high:
                    yield Alarm(
                        rule.family, f"{rule.signal}:{role}", "rule", rule.aspect,
                        statistic=math.log(max(high) / rule.clear_at), threshold=0.0,
                        after={rule.name: max(high), "limit": rule.raise_at, "workers": float(len(high))},
                    )  # fmt: skip

    def _silent(self, silent_s: float) -> Iterator[Alarm]:
        silent: dict[str, list[float]] = {}
        for (role, _), claim in self.claims.items():
            if (quiet := (self.now - claim.time) / 1000) >= silent_s:
                silent.setdefault(role, []).append(quiet)
        for role, quiet_s in sorted(silent.items()):
            yield Alarm(
                "operations", f"silent:{role}", "rule", "fault",
                statistic=math.log(max(quiet_s) / silent_s), threshold=0.0,
                after={"s": max(quiet_s), "limit": silent_s, "partitions": float(len(quiet_s))},
            )  # fmt: skip


def _follow(state: Watched, rule: Rule, value: float, time: int) -> None:
    state.value, state.time = float(value), time
    state.high = state.high + 1 if value >= rule.raise_at else 0
    state.on = state.high >= rule.readings or (state.on and value >= rule.clear_at)


_FEW = 5
"""Fewer dead letters are chance: one bad event among sixty is no trouble."""


def _dead_letters(reading: OperationalReading) -> float | None:
    dead = sum(reading.dead_letters.values())
    return (dead / reading.events if dead >= _FEW else 0.0) if reading.events else None


def _redis(reading: OperationalReading) -> float | None:
    return reading.redis_failures / reading.windows if reading.windows else None


def _label_age(reading: OperationalReading) -> float | None:
    return None if reading.label_age_ms is None else reading.label_age_ms / 1000
