"""The scenarios by name: each breaks something under steady load, and holds what was seen against what is asked."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from reliability_suite import figures, throughput
from reliability_suite.pipeline import RESTART_S, Pipeline, ScoreWorker
from reliability_suite.results import Figure, Result, result, seconds
from reliability_suite.stage import Options, Outcome, Stage, under_load

from penstock.streams.embedded import EmbeddedKafka

MODES = ("exactly_once", "at_least_once")
SERVED_S = 60.0
"""So long a takeover is waited for."""
AWAY_S = 15.0
"""So long a killed broker stays away; the controllers miss it after 6 s."""
SETTLED_S = 10.0
"""So long a broker that is back has to catch up, before the next one is killed."""


@dataclass(frozen=True)
class Ground:
    """Where a scenario takes place: brokers, and a folder for projects and logs."""

    servers: str
    scratch: Path
    kafka: EmbeddedKafka | None = None
    """None where the brokers are somebody else's."""

    def outcome(
        self, name: str, mode: str, options: Options, act: Callable[[Stage], None], settings: str = ""
    ) -> Outcome:
        pipeline = Pipeline(
            self.servers, self.scratch, f"{name}-{mode.replace('_', '-')}-{time.time_ns() // 10**9}",
            mode=mode, partitions=options.partitions, replicas=1 if self.kafka is None else self.kafka.brokers,
            settings=settings,
        )  # fmt: skip
        with closing(pipeline):
            return under_load(pipeline, options, mode, act)


def kills(ground: Ground, mode: str, options: Options) -> Result:
    outcome = ground.outcome("kills", mode, options, lambda stage: kill_in_turn(stage, options, 600, 15))
    return killed("kills", outcome, [seconds("backlog gone after the last kill", 60, outcome.backlog_gone_s)])


def kill_storm(ground: Ground, mode: str, options: Options) -> Result:
    outcome = ground.outcome("kill-storm", mode, options, lambda stage: kill_in_turn(stage, options, 120, 5))
    still_s = figures.longest_standstill_s(outcome.counted.pauses, outcome.partitions, outcome.begun, outcome.ended)
    return killed("kill-storm", outcome, [seconds("longest without any prediction", None, still_s)])


def takeover(ground: Ground, mode: str, options: Options) -> Result:
    def act(stage: Stage) -> None:
        for turn in range(options.rounds or 5):
            victim = stage.workers[turn % len(stage.workers)]
            stage.kill(victim)
            stage.wait_until(lambda: stage.serves(stage.blows[-1].time + figures.AT_ONCE_MS), SERVED_S)
            come_back(stage, victim, options)

    return killed("takeover", ground.outcome("takeover", mode, options, act), [])


def rolling_restart(ground: Ground, mode: str, options: Options) -> Result:
    stops: list[float] = []

    def act(stage: Stage) -> None:
        for _ in range(options.rounds or 3):
            for worker in stage.workers:
                stops.append(stage.stop(worker))
                come_back(stage, worker, options)

    outcome = ground.outcome("rolling-restart", mode, options, act)
    pause_s = figures.longest_pause_s(outcome.counted.pauses, outcome.begun, outcome.ended)
    more = [seconds("longest pause of a partition", 1, pause_s), seconds("longest stop", None, max(stops))]
    return result("rolling-restart", outcome, more=more)


def kill_in_turn(stage: Stage, options: Options, default_s: float, default_every_s: float) -> None:
    every_s = options.every_s or default_every_s
    for turn in range(max(1, round((options.seconds or default_s) / every_s))):
        victim = stage.workers[turn % len(stage.workers)]
        begun = time.monotonic()
        stage.kill(victim)
        stage.wait(RESTART_S)
        victim.start()
        stage.wait(every_s - (time.monotonic() - begun))


def come_back(stage: Stage, worker: ScoreWorker, options: Options) -> None:
    """Start it, and wait until it has partitions and all of them are served."""
    worker.start()
    stage.wait_until(lambda: bool(worker.owns), SERVED_S)
    settle(stage, options)


def settle(stage: Stage, options: Options) -> None:
    """Wait until every partition is served and the backlog is gone."""
    begun = time.time() * 1000
    stage.wait_until(lambda: stage.serves(begun) and stage.backlog < options.rate, SERVED_S)


def killed(scenario: str, outcome: Outcome, more: list[Figure]) -> Result:
    """At least once, the events of a commit interval may come again with each kill."""
    again = [figures.served_again_s(outcome.counted.pauses, blow.time, blow.partitions) for blow in outcome.blows]
    median = f", median {statistics.median(again):.1f} s"
    served = seconds("killed worker's partitions served again", 10, max(again), median)
    return result(scenario, outcome, intervals=1, more=[*more, served])


def broker_loss(ground: Ground, mode: str, options: Options) -> Result:
    """Each broker leads partitions, and is some group's or transaction's coordinator."""
    kafka = ground.kafka
    if kafka is None or kafka.brokers < 3:
        raise ValueError("broker-loss needs three brokers of its own")

    def act(stage: Stage) -> None:
        for broker in range(options.rounds or 3):
            stage.blow(f"kill -9 of broker {broker}", [])
            kafka.kill(broker)
            stage.wait(AWAY_S)
            kafka.restart(broker)
            settle(stage, options)
            stage.wait(SETTLED_S)

    return result("broker-loss", ground.outcome("broker-loss", mode, options, act))


def modes(ground: Ground, mode: str, options: Options) -> Result:
    return throughput.compare(ground.servers, ground.scratch, options)


@dataclass(frozen=True)
class Scenario:
    """`run` takes a mode; `compares`: it takes both by itself."""

    run: Callable[[Ground, str, Options], Result]
    brokers: int = 1
    compares: bool = False


SCENARIOS = {
    "kills": Scenario(kills),
    "kill-storm": Scenario(kill_storm),
    "takeover": Scenario(takeover),
    "rolling-restart": Scenario(rolling_restart),
    "broker-loss": Scenario(broker_loss, brokers=3),
    "modes": Scenario(modes, compares=True),
}
