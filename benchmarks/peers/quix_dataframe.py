"""Quix Streams: a StreamingDataFrame, one event at a time: its windows collect per key only, so there is no batch."""

from __future__ import annotations

from quixstreams import Application, message_context
from workload import HEADERS, Scorer, Task


def main() -> None:
    task = Task.of_this_process()
    scorer = Scorer(task.weights)

    def score(value: bytes) -> bytes:
        context = message_context()
        return scorer.score([value]).predictions(context.partition, [context.offset])[0]

    app = Application(
        broker_address=task.servers,
        consumer_group=task.group,
        auto_offset_reset="earliest",
        commit_interval=0.25,
        processing_guarantee="at-least-once",
        producer_extra_config={"acks": "all"},
        state_dir=f"{task.directory}/quix",
        auto_create_topics=False,
        loglevel="WARNING",
    )
    events = app.topic(task.events, key_deserializer="bytes", value_deserializer="bytes")
    predictions = app.topic(task.predictions, key_serializer="bytes", value_serializer="bytes")
    app.dataframe(events).apply(score).set_headers(lambda *_: HEADERS).to_topic(predictions)
    app.run()


if __name__ == "__main__":
    main()
