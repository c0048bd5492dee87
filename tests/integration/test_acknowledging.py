"""A person takes an alert: the judge knows it after its death, stays silent meanwhile, and says when it is over."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord
from pipelines import MakeProject, Project, Witness, until

from penstock.schemas.alerts import Alert, decode_alert
from penstock.schemas.operations import OperationalReading, encode_reading
from penstock.streams import kafka as clients
from penstock.streams.console.alerts import acknowledge

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

NOW = 1_370_000_000_000
COPY = "import pathlib, sys; pathlib.Path(sys.argv[1]).open('a').write(sys.stdin.read())"


async def report(project: Project, numbers: Sequence[int], *, dead_letters: int) -> None:
    """A score worker's readings, one every ten seconds."""
    async with clients.producer(project.settings.kafka) as producer:
        for number in numbers:
            reading = OperationalReading(
                "score", "a", NOW + 10_000 * number, 10_000, (0,), events=100, dead_letters={"decode": dead_letters}
            )
            value, headers = encode_reading(reading)
            topic = project.settings.topics.summaries.name
            await producer.send_and_wait(topic, value, partition=0, headers=headers)


def alerts_in(records: Sequence[ConsumerRecord]) -> list[Alert]:
    return [decode_alert(record.value, record.headers, "alerts") for record in records]


def told(file: Path) -> list[str]:
    return [json.loads(line)["state"] for line in file.read_text().splitlines()] if file.exists() else []


async def test_an_acknowledgement_outlives_the_judge_that_took_it(
    project_named: MakeProject, witness: Witness, tmp_path: Path
) -> None:
    file = tmp_path / "told.ndjson"
    alerts = f"""
    [watch]
    checkpoint_s = 0.3
    [alerts]
    clear_after = 5
    clear_after_s = 30
    command = {json.dumps([sys.executable, "-c", COPY, str(file)])}
    """
    project = await project_named("acknowledging", mode="at_least_once", more=alerts, serves=False)
    settings = project.settings
    first = project.start_worker("judge")
    await report(project, range(3), dead_letters=5)
    [raised, *_] = alerts_in(await witness.read(settings.topics.alerts.name, lambda seen: len(seen) > 0, timeout_s=90))
    assert raised.title == "dead letters of score: 5 % (limit 1 %)"
    await until(lambda: told(file) == ["raised"], "the command is told")

    alert, applied = await acknowledge(
        settings.kafka, settings.topics, raised.id, by="ada@lab", note="a producer was deployed", wait_s=60
    )
    assert (applied, alert.state) == (True, "acknowledged")
    first.kill()

    project.start_worker("judge")
    await report(project, range(3, 6), dead_letters=5)
    await report(project, range(6, 12), dead_letters=0)
    records = await witness.read(
        settings.topics.alerts.name,
        lambda seen: [alert.state for alert in alerts_in(seen)][-1:] == ["cleared"],
        timeout_s=90,
    )
    cleared = alerts_in(records)[-1]
    assert (cleared.id, cleared.acknowledged_by, cleared.note) == (raised.id, "ada@lab", "a producer was deployed")
    assert cleared.count == 6
    assert [alert.state for alert in alerts_in(records)] == ["raised", "acknowledged", "cleared"]
    await until(lambda: told(file) == ["raised", "cleared"], "the command is told of the end, and of nothing between")
