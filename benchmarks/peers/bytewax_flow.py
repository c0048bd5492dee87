"""Bytewax with its batch operator, `flat_map_batch`, and recovery (its way to commit offsets) on."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from workload import HEADERS, WINDOW, Scorer, Task

COMMIT_INTERVAL = timedelta(seconds=0.25)


def build(task: Task) -> Dataflow:
    scorer = Scorer(task.weights)

    def score(batch: list[KafkaSourceMessage]) -> list[KafkaSinkMessage]:
        window = scorer.score([message.value for message in batch])
        values = window.predictions(batch[0].partition, [message.offset for message in batch])
        return [
            KafkaSinkMessage(message.key, value, headers=HEADERS) for message, value in zip(batch, values, strict=True)
        ]

    flow = Dataflow("peer")
    events = op.input("events", flow, KafkaSource([task.servers], [task.events], batch_size=WINDOW))
    predictions = op.flat_map_batch("score", events, score)
    op.output("predictions", predictions, KafkaSink([task.servers], task.predictions, add_config={"acks": "all"}))
    return flow


def main() -> None:
    task = Task.of_this_process()
    recovery = Path(task.directory, "recovery")
    recovery.mkdir(parents=True)
    init_db_dir(recovery, 1)
    cli_main(build(task), epoch_interval=COMMIT_INTERVAL, recovery_config=RecoveryConfig(recovery))


if __name__ == "__main__":
    main()
