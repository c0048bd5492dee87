"""An event that kills whoever scores it is found and put aside; every other one is scored, once.

So are one for which no memory is enough, and one without a finite score: their worker lives on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter

import pytest
from pipelines import FEATURES, Kafka, MakeProject, Project, Witness
from traffic import event, producing

from penstock.schemas.dead_letters import DeadLetter
from penstock.streams.back_off import BackOff
from penstock.streams.scoring.crashes import ALONE
from penstock.streams.supervisor import Worker, supervise

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

EVENTS, POISON, HUNGRY, ENDLESS = 2_000, 7, 1_000, 1_500
ODD = {POISON: 1e15, HUNGRY: -1e10, ENDLESS: -1e15}
VALUES = [event(n, features=dict.fromkeys(FEATURES, ODD.get(n, 0.5))) for n in range(EVENTS)]
ADDRESS_SPACE_KB = 16 << 20
"""Of a worker, which maps some gigabytes when it starts."""
AT_ONCE = BackOff(first_s=0.01, longest_s=0.01)
IN_HASTE = {"PENSTOCK_DELIVERY__MAX_CRASHES": "1", "PENSTOCK_WINDOW__MAX_ROWS": "16"}
"""One start to become suspicious, and rows are tried one by one at once."""


def worker_of(project: Project) -> Worker:
    command = [sys.executable, "-m", "penstock", "worker", "score", "--config", str(project.settings.file.absolute())]
    limited = ["/bin/sh", "-c", f'ulimit -v {ADDRESS_SPACE_KB} && exec "$@"', "sh", *command]
    return Worker(project.settings.delivery.mode, limited, {**os.environ, **IN_HASTE})


async def test_an_event_that_kills_its_worker_is_a_dead_letter_and_all_others_are_scored(
    kafka: Kafka, project_named: MakeProject, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    projects = [
        await project_named(f"poisoned-{mode}", mode=mode, partitions=1) for mode in ("exactly_once", "at_least_once")
    ]
    monkeypatch.chdir(projects[0].settings.directory)  # where the model's code is
    async with producing(kafka.servers, linger_ms=50) as producer:
        for project in projects:
            topic = project.settings.topics.events.name
            await asyncio.gather(*[await producer.send(topic, value) for value in VALUES])
    starts: Counter[str] = Counter()
    running = asyncio.create_task(
        supervise(
            [worker_of(project) for project in projects],
            back_off=AT_ONCE,
            on_start=lambda worker, pid: starts.update([worker.name]),
        )
    )
    try:
        await asyncio.gather(*(all_but_the_poison_are_scored(project, witness) for project in projects))
    finally:
        if not running.done():
            os.kill(os.getpid(), signal.SIGTERM)  # the supervisor hears it
        await running
    assert starts == dict.fromkeys(("exactly_once", "at_least_once"), 1 + ALONE + 1)


async def all_but_the_poison_are_scored(project: Project, witness: Witness) -> None:
    topics = project.settings.topics
    predictions = await witness.read(
        topics.predictions.name,
        lambda found: len({record.value for record in found}) >= EVENTS - len(ODD),
        timeout_s=90,
    )
    letters = await witness.read(topics.dead_letters.name, lambda found: len(found) >= len(ODD), timeout_s=10)

    told = [DeadLetter.from_record(record.key, record.value, record.headers) for record in letters]
    assert [(letter.stage, letter.error, letter.value) for letter in told] == [
        ("score", "kills_the_worker", VALUES[POISON]),
        ("score", "model_failed", VALUES[HUNGRY]),
        ("score", "not_finite", VALUES[ENDLESS]),
    ]
    assert "can't allocate memory" in told[1].message
    scored = Counter(record.value for record in predictions)
    assert len(scored) == EVENTS - len(ODD)
    assert set(scored.values()) == {1}, "nothing was scored when the worker died, and what was tried is committed"
