"""A pipeline under load, and what became of it: the frame of every scenario that breaks something."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from reliability_suite.counter import Counted, Counter, Watch
from reliability_suite.figures import Blow
from reliability_suite.load import Generator, Load
from reliability_suite.pipeline import Pipeline, ScoreWorker

POLL_S = 0.1
SERVE_S = 120.0
"""So long a pipeline may take to serve at first."""
GONE_S = 2.0
"""A backlog of less than this much load is none: both counts are up to a second old."""
SETTLE_S = 300.0
"""So long a backlog may last after the last blow."""


@dataclass(frozen=True)
class Options:
    """Of a whole run.

    seconds   of blows
    every_s   between blows
    rounds    of takeovers, restarts, lost brokers, turns of both modes
    events    that each turn of both modes scores

    None: as the scenario's measure asks.
    """

    rate: int = 20_000
    partitions: int = 4
    bad_every: int = 999
    seconds: float | None = None
    every_s: float | None = None
    rounds: int | None = None
    events: int = 1_000_000


@dataclass
class Outcome:
    """All that was seen. Times are Unix ms."""

    mode: str
    rate: int
    partitions: int
    counted: Counted
    written_events: int
    begun: float
    ended: float
    blows: list[Blow]
    backlog_gone_s: float
    commit_interval_ms: float
    repeats: int = 0
    """Events that workers said they score again."""
    problems: list[str] = field(default_factory=list)
    """What should not happen whatever the figures: workers that crash by themselves or do not stop in order."""


class Stage:
    """What a scenario acts on."""

    def __init__(self, pipeline: Pipeline, generator: Generator, counter: Counter) -> None:
        self.pipeline, self.generator, self.counter = pipeline, generator, counter
        self.blows: list[Blow] = []
        self.problems: list[str] = []

    @property
    def workers(self) -> list[ScoreWorker]:
        return self.pipeline.workers

    @property
    def backlog(self) -> int:
        """Events that are due and have no output yet."""
        return self.generator.told.due - self.counter.told.seen

    def wait(self, seconds: float) -> None:
        """Meanwhile workers that crash are started again, as a supervisor does."""
        self.wait_until(lambda: False, seconds)

    def wait_until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            for worker in self.workers:
                worker.tend()
            time.sleep(POLL_S)
        return True

    def kill(self, worker: ScoreWorker) -> None:
        owned = worker.owns
        self.blow(f"kill -9 of worker {worker.number}", owned)
        worker.kill()

    def stop(self, worker: ScoreWorker) -> float:
        """SIGTERM; the seconds until it had stopped."""
        self.blow(f"SIGTERM of worker {worker.number}", worker.owns, in_order=True)
        code, took_s = worker.stop()
        if code != 0:
            self.problems.append(f"worker {worker.number} ended with {code}, {took_s:.1f} s after SIGTERM")
        return took_s

    def blow(self, what: str, partitions: list[int], *, in_order: bool = False) -> None:
        self.blows.append(Blow(what, time.time() * 1000, partitions, in_order))
        say(f"  {what}, which served {partitions}; backlog {self.backlog:,}")

    def serves(self, since_ms: float) -> bool:
        """Whether every partition got a prediction since then."""
        return min(self.counter.told.times) >= since_ms


def under_load(pipeline: Pipeline, options: Options, mode: str, act: Callable[[Stage], None]) -> Outcome:
    """Steady load from before the first blow until the backlog of the last is gone; then everything is counted."""
    servers, directory = pipeline.servers, pipeline.directory
    load = Load(servers, pipeline.events, options.partitions, options.rate, options.bad_every)
    watch = Watch(servers, pipeline.predictions, pipeline.dead_letters, options.partitions)
    with Counter(watch, directory / "counter.log") as counter, Generator(load, directory / "load.log") as generator:
        stage = Stage(pipeline, generator, counter)
        for worker in pipeline.workers:
            worker.start()
        started = time.time() * 1000
        ready = stage.wait_until(lambda: stage.serves(started) and all(w.owns for w in stage.workers), SERVE_S)
        if not ready or not stage.wait_until(lambda: stage.backlog < GONE_S * options.rate, SERVE_S):
            raise RuntimeError(
                f"does not serve or keep up, before any blow: see {directory}; backlog {stage.backlog:,}"
            )
        begun = time.time() * 1000
        act(stage)
        last = stage.blows[-1].time
        gone = stage.wait_until(lambda: stage.backlog < GONE_S * options.rate, SETTLE_S)
        ended = time.time() * 1000
        if not gone:
            stage.problems.append(f"a backlog of {stage.backlog:,} events was left {SETTLE_S:g} s after the last blow")
        counted = finish(stage, options)
        return Outcome(
            mode=mode,
            rate=options.rate,
            partitions=options.partitions,
            counted=counted,
            written_events=pipeline.written_events(),
            begun=begun,
            ended=ended,
            blows=stage.blows,
            backlog_gone_s=(ended - last) / 1000,
            commit_interval_ms=pipeline.commit_interval_ms,
            repeats=sum(worker.repeats for worker in stage.workers),
            problems=stage.problems + [f"worker {w.number} crashed: {end}" for w in stage.workers for end in w.crashes],
        )


def finish(stage: Stage, options: Options) -> Counted:
    """Stop the load, let the workers finish, and count once nothing comes any more."""
    sent = stage.generator.finish().confirmed
    stage.wait_until(lambda: stage.counter.told.seen >= sent, SETTLE_S)
    for worker in stage.workers:
        code, took_s = worker.stop()
        if code != 0:
            stage.problems.append(f"worker {worker.number} ended with {code}, {took_s:.1f} s after SIGTERM")
    stage.wait_until(lambda: stage.counter.told.at_end, SERVE_S)
    return stage.counter.verdict(sent, options.bad_every)


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
