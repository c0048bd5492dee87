"""Idiomatic Faust: an agent that takes batches with `take()` and sends each prediction with `topic.send`."""

from __future__ import annotations

import sys
from pathlib import Path

import faust
from workload import HEADERS, Scorer, Task

task = Task.of_this_process()
scorer = Scorer(task.weights)

app = faust.App(
    task.group,
    broker=f"kafka://{task.servers}",
    consumer_auto_offset_reset="earliest",
    producer_acks=-1,
    broker_commit_interval=0.25,
    topic_disable_leader=True,
    topic_allow_declare=False,
    web_enabled=False,
    datadir=str(Path(task.directory, "faust")),
)
events_topic = app.topic(task.events, key_type=bytes, value_type=bytes, value_serializer="raw")
predictions_topic = app.topic(task.predictions, key_type=bytes, value_type=bytes, value_serializer="raw")


@app.agent(events_topic)
async def score(stream: faust.Stream) -> None:
    async for batch in stream.take_events(512, within=0.05):
        window = scorer.score([event.value for event in batch])
        values = window.predictions(batch[0].message.partition, [event.message.offset for event in batch])
        for event, value in zip(batch, values, strict=True):
            await predictions_topic.send(key=event.key, value=value, headers=dict(HEADERS))


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "worker", "-l", "warn", "--without-web"]
    app.main()
