"""`penstock alerts` as a person on call types it, against a real broker."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner, Result

from penstock.monitoring.alarms import Alarm
from penstock.monitoring.alerts.book import AlertBook, Position
from penstock.monitoring.config import AlertsConfig
from penstock.schemas.alerts import ALERT_SCHEMA, Alert, decode_acknowledgement, encode_alert
from penstock.schemas.topics import Topics
from penstock.streams import kafka as clients
from penstock.streams.cli import app
from penstock.streams.console.alerts import acknowledge
from penstock.streams.reading import records
from penstock.streams.settings import KafkaSettings, Settings

if TYPE_CHECKING:
    from penstock.streams.embedded.testing import Kafka

pytestmark = pytest.mark.kafka

CONFIG = """
[pipeline]
name = "{name}"
[kafka]
servers = ["{server}"]
partitions = 1
[events]
topic = "{name}-departures"
id = "id"
[features.distance]
type = "float"
"""

WIND = Alarm("data_drift", "feature:wind", "ecusum", "location", 15.0, 12.0, {"mean": 10.0}, {"mean": 14.0})
GONE = Alarm("data_drift", "feature:visibility", "ecusum", "missing", 90.0, 12.0, {"missing": 0.01}, {"missing": 1.0})
FAULT = Alarm("numerics", "score:champion", "rate", "fault", 9.0, 8.0)


class Judge:
    """A judge in miniature: it has a book, and writes what there is to tell to the alert topic."""

    def __init__(self) -> None:
        self.book = AlertBook(AlertsConfig(clear_after=2, clear_after_s=0.0), pipeline="flights")
        self.segment = 0

    def judge(self, *alarms: Alarm) -> list[Alert]:
        self.segment += 1
        first, time = 512 * self.segment, 1_357_034_400_000 + 60_000 * self.segment
        return self.book.observe(
            alarms, position=Position(0, self.segment, first, first + 511, time, "delay@3", 7, ("AA1",))
        )


@pytest.fixture
def config(kafka: Kafka, tmp_path: Path) -> Path:
    path = tmp_path / "penstock.toml"
    path.write_text(CONFIG.format(name=f"alerts-{uuid.uuid4().hex[:8]}", server=kafka.servers[0]))
    assert penstock("topics", "create", config=path).exit_code == 0
    return path


@pytest.fixture
def settings(config: Path) -> Settings:
    return Settings.load(config)


def penstock(*arguments: str, config: Path) -> Result:
    return CliRunner().invoke(app, [*arguments, "--config", str(config)], env={"COLUMNS": "200"})


async def write(kafka: KafkaSettings, topic: str, alerts: Sequence[Alert]) -> None:
    async with clients.producer(kafka) as producer:
        for alert in alerts:
            key, value, headers = encode_alert(alert)
            await producer.send_and_wait(topic, value, key=key, partition=0, headers=headers)


def tell(settings: Settings, alerts: Sequence[Alert]) -> None:
    asyncio.run(write(settings.kafka, settings.topics.alerts.name, alerts))


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_a_quiet_night(config: Path) -> None:
    assert lines(penstock("alerts", "list", config=config)) == ["No alert."]
    assert penstock("alerts", "list", "--exit-code", config=config).exit_code == 0
    missing = penstock("alerts", "show", "drift-77", config=config)
    assert missing.exit_code == 1
    assert "has an id that begins with drift-77" in missing.stderr


def test_what_is_wrong_is_listed_the_worst_first_and_what_was_on_demand(config: Path, settings: Settings) -> None:
    judge = Judge()
    drift, fault = judge.judge(WIND, FAULT)
    tell(settings, [drift, fault])
    heading, first, second = lines(penstock("alerts", "list", config=config))
    assert heading == "id severity state since alarms alert"
    assert first == f"{fault.id} critical raised 2013-01-01 10:01 1 scores of champion: fault"
    assert second == f"{drift.id} warning raised 2013-01-01 10:01 1 wind: mean 10 → 14 (location)"
    assert penstock("alerts", "list", "--exit-code", config=config).exit_code == 1

    tell(settings, [alert for _ in range(2) for alert in judge.judge()])
    assert lines(penstock("alerts", "list", config=config)) == ["No alert. 2 cleared: penstock alerts list --all"]
    shown = json.loads(penstock("alerts", "list", "--all", "--json", config=config).stdout)
    assert [(alert["id"], alert["state"]) for alert in shown] == [(fault.id, "cleared"), (drift.id, "cleared")]
    assert lines(penstock("alerts", "list", "--state", "raised", config=config)) == ["No alert is raised."]


def test_an_alert_is_shown_with_its_causes_and_its_history(config: Path, settings: Settings) -> None:
    judge = Judge()
    [raised], [worse] = judge.judge(WIND), judge.judge(GONE)
    tell(settings, [raised, worse])
    shown = lines(penstock("alerts", "show", raised.id[:-3], config=config))
    assert "what visibility: missing 1 % → 100 %, and wind" in shown
    assert "state ongoing, critical" in shown
    assert "seen 2013-01-01 10:01 to 2013-01-01 10:02 (event time), 2 alarms" in shown
    assert "model delay@3, routing revision 7" in shown
    assert "where partition 0, offsets 512 to 1023" in shown
    assert "78.0 visibility: missing 1 % → 100 % ecusum" in shown
    assert shown[-2].endswith("raised, warning: wind: mean 10 → 14 (location)")
    document = json.loads(penstock("alerts", "show", raised.id, "--json", config=config).stdout)
    assert [state["state"] for state in document["states"]] == ["raised", "ongoing"]


def test_the_beginning_of_an_id_must_say_which(config: Path, settings: Settings) -> None:
    tell(settings, [*Judge().judge(WIND), msgspec.structs.replace(Judge().judge(WIND)[0], id="drift-other")])
    refused = penstock("alerts", "show", "drift-", config=config)
    assert refused.exit_code == 2
    assert "Give more of the id." in refused.stderr


def test_without_a_judge_an_acknowledgement_waits_for_one(config: Path, settings: Settings) -> None:
    [raised] = Judge().judge(WIND)
    tell(settings, [raised])
    answer = penstock(
        "alerts", "ack", raised.id, "--author", "ada@lab", "--note", "storm", "--wait", "0.2", config=config
    )
    assert answer.exit_code == 0
    assert "will be acknowledged when a judge runs" in answer.stdout
    [waiting] = asyncio.run(acknowledgements(settings.kafka, settings.topics))
    assert (waiting.alert, waiting.by, waiting.note) == (raised.id, "ada@lab", "storm")


async def acknowledgements(kafka: KafkaSettings, topics: Topics) -> list[Any]:
    return [
        decode_acknowledgement(record.value, record.headers, "here")
        async for record in records(kafka, topics.summaries.name)
    ]


async def test_the_judge_applies_an_acknowledgement_and_says_so(kafka: Kafka, config: Path) -> None:
    settings, judge = Settings.load(config), Judge()
    [raised] = judge.judge(WIND)
    await write(settings.kafka, settings.topics.alerts.name, [raised])

    async def serve() -> None:
        """What the judge does with its input, until there is an acknowledgement in it."""
        while not (found := await acknowledgements(settings.kafka, settings.topics)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        told = judge.book.acknowledge(found[0].alert, found[0].by, found[0].note)
        await write(settings.kafka, settings.topics.alerts.name, told)

    async def ack(by: str) -> tuple[Alert, bool]:
        return await acknowledge(settings.kafka, settings.topics, raised.id[:9], by=by, note="storm", wait_s=60)

    (alert, applied), _ = await asyncio.gather(ack("ada@lab"), serve())
    assert applied
    assert (alert.state, alert.acknowledged_by, alert.note) == ("acknowledged", "ada@lab", "storm")
    again, applied = await ack("ada@lab")
    assert (again, applied) == (alert, True)
    assert len(await acknowledgements(settings.kafka, settings.topics)) == 1


def test_what_is_cleared_cannot_be_acknowledged(config: Path, settings: Settings) -> None:
    judge = Judge()
    tell(settings, [alert for alarms in ([WIND], [], []) for alert in judge.judge(*alarms)])
    refused = penstock("alerts", "ack", "drift-", config=config)
    assert refused.exit_code == 1
    assert "has been cleared: there is nothing to acknowledge" in refused.stderr


def test_what_is_no_alert_is_named_and_the_others_are_shown(config: Path, settings: Settings) -> None:
    async def publish() -> None:
        async with AIOKafkaProducer(bootstrap_servers=list(settings.kafka.servers)) as producer:
            await producer.send_and_wait(settings.topics.alerts.name, b"\x1b[2J", headers=[ALERT_SCHEMA], partition=0)

    asyncio.run(publish())
    tell(settings, Judge().judge(WIND))
    result = penstock("alerts", "list", config=config)
    assert "offset 0: the record is no alert that can be read" in result.stderr
    assert "wind: mean 10 → 14 (location)" in result.stdout
    shown = penstock("tail", "alerts", "-F", config=config).stdout
    assert "raised, warning: wind: mean 10 → 14 (location)  1 alarm  delay@3  drift-" in shown
    assert "\x1b" not in shown


def test_following_shows_what_comes(config: Path, settings: Settings) -> None:
    [raised] = Judge().judge(WIND)
    program = [sys.executable, "-c", "from penstock.streams.cli import main; main()"]
    command = [*program, "alerts", "follow", "--json", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        try:
            line = asyncio.run(first_line(settings, following, raised))
            assert json.loads(line)["title"] == "wind: mean 10 → 14 (location)"
            following.send_signal(signal.SIGINT)
            assert following.wait(20) in (0, 130)
        finally:
            following.kill()


async def first_line(settings: Settings, following: subprocess.Popen[str], alert: Alert) -> str:
    """The follower begins at the end, wherever that is when it starts: so it is told until it has heard."""
    assert following.stdout is not None
    heard = asyncio.create_task(asyncio.to_thread(following.stdout.readline))
    while not heard.done():
        await write(settings.kafka, settings.topics.alerts.name, [alert])
        await asyncio.wait([heard], timeout=0.5)
    return await heard
