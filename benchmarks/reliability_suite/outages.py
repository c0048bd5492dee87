"""The scenarios in which all brokers are lost: nobody can do anything but wait, and then go on."""

from __future__ import annotations

import resource
from collections.abc import Callable

from reliability_suite import figures
from reliability_suite.results import Result, result, seconds
from reliability_suite.scenarios import Ground, Scenario
from reliability_suite.stage import Options, Outcome, Stage

from penstock.streams.embedded import EmbeddedKafka

DOWN_S = 60.0
ENDS_S = 300.0
"""So long a broker may take to find its disk full."""
ROOM_BYTES = 4 << 20
INDEX_BYTES = 10 << 20
"""Of an index file: Kafka makes it as large as it may become."""


def brokers_lost(ground: Ground, mode: str, options: Options) -> Result:
    """kill -9 of all brokers; they come back together."""

    def act(stage: Stage, kafka: EmbeddedKafka) -> None:
        stage.blow("kill -9 of all brokers", everything(stage))
        for broker in range(kafka.brokers):
            kafka.kill(broker)
        stage.wait(options.seconds or DOWN_S)

    return lost("brokers-lost", ground, mode, options, act)


def disk_full(ground: Ground, mode: str, options: Options) -> Result:
    """No file of the broker may grow any more but for a little: it ends of that."""

    def act(stage: Stage, kafka: EmbeddedKafka) -> None:
        stage.blow("disk full", everything(stage))
        [pid] = kafka.pids()
        largest = max(file.stat().st_size for file in kafka.directory.rglob("*.log"))
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (max(largest, INDEX_BYTES) + ROOM_BYTES, hard))
        if not stage.wait_until(lambda: bool(kafka.ended()), ENDS_S):
            raise RuntimeError("the broker goes on, though its files may not grow")
        stage.blow(f"the broker ended: {kafka.ended()[0]}", [])
        stage.wait((options.seconds or DOWN_S) / 4)

    return lost("disk-full", ground, mode, options, act)


def everything(stage: Stage) -> list[int]:
    return list(range(stage.pipeline.partitions))


def lost(name: str, ground: Ground, mode: str, options: Options, act: Callable[[Stage, EmbeddedKafka], None]) -> Result:
    """`act` takes the brokers away; here they come back."""
    kafka = ground.kafka
    if kafka is None:
        raise ValueError(f"{name} needs brokers of its own")

    def act_and_come_back(stage: Stage) -> None:
        act(stage, kafka)
        kafka.restart(*range(kafka.brokers))
        stage.blow("the brokers are back", [])

    return told(name, ground.outcome(name, mode, options, act_and_come_back))


def told(scenario: str, outcome: Outcome) -> Result:
    """No worker ends with the brokers. At least once, its group forgets it, and it repeats what it had not committed:
    a commit interval at most.
    """
    pauses, back = outcome.counted.pauses, outcome.blows[-1]
    again = [figures.served_again_s(pauses, blow.time, blow.partitions) for blow in outcome.blows if blow.partitions]
    gone_s = (back.time - outcome.blows[0].time) / 1000
    more = [
        seconds("brokers were away", None, gone_s),
        seconds("from their return until all was served again", None, max(again) - gone_s),
        seconds("backlog gone after their return", None, outcome.backlog_gone_s),
    ]
    return result(scenario, outcome, intervals=1, more=more)


OUTAGES = {"brokers-lost": Scenario(brokers_lost, brokers=3), "disk-full": Scenario(disk_full)}
