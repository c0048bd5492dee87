"""The commands as a person types them, against a real broker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner, Result

from penstock.schemas.dead_letters import DeadLetter
from penstock.schemas.records import PREDICTION_SCHEMA, ModelRef
from penstock.streams.cli import app
from penstock.streams.control import use_champion
from penstock.streams.settings import Settings

if TYPE_CHECKING:
    from penstock.streams.embedded.testing import Kafka

pytestmark = pytest.mark.kafka

CONFIG = """
[pipeline]
name = "{name}"
[kafka]
servers = ["{server}"]
partitions = 2
[events]
topic = "{name}-departures"
id = "id"
key = "origin"
[features.distance]
type = "float"
"""


@pytest.fixture
def config(kafka: Kafka, tmp_path: Path) -> Path:
    path = tmp_path / "penstock.toml"
    path.write_text(CONFIG.format(name=f"cli-{uuid.uuid4().hex[:8]}", server=kafka.servers[0]))
    assert penstock("topics", "create", config=path).exit_code == 0
    return path


def penstock(*arguments: str, config: Path, text: str | None = None) -> Result:
    return CliRunner().invoke(app, [*arguments, "--config", str(config)], input=text)


def documents(result: Result) -> list[Any]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def publish(settings: Settings, topic: str, value: bytes, headers: list[tuple[str, bytes]]) -> None:
    async def work() -> None:
        async with AIOKafkaProducer(bootstrap_servers=list(settings.kafka.servers)) as producer:
            await producer.send_and_wait(topic, value, key=b"JFK", partition=0, headers=headers)

    asyncio.run(work())


def test_events_go_in_from_a_file_and_come_out_readable(config: Path, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("id,origin,distance\n1,JFK,1400.50\n2,EWR,\n")
    sent = penstock("send", str(tmp_path / "events.csv"), "--json", config=config)
    assert sent.exit_code == 0, sent.output
    assert json.loads(sent.stdout)["confirmed"] == 2
    shown = documents(penstock("tail", "events", "--no-follow", "--json", config=config))
    assert sorted((each["key"], each["value"]["distance"]) for each in shown) == [("EWR", None), ("JFK", 1400.5)]
    readable = penstock("tail", "events", "-F", config=config).stdout
    assert '{"id":1,"origin":"JFK","distance":1400.50}' in readable


def test_events_come_from_standard_input_at_a_rate_with_another_key(config: Path) -> None:
    lines = "".join(json.dumps({"id": n, "gate": f"G{n}"}) + "\n" for n in range(20))
    sent = penstock("send", "-", "--rate", "200/s", "--key", "gate", config=config, text=lines)
    assert sent.exit_code == 0, sent.output
    assert sent.stdout.startswith("20 events are in ")
    shown = documents(penstock("tail", "events", "--from-beginning", "-F", "--json", config=config))
    assert {each["key"] for each in shown} == {f"G{n}" for n in range(20)}
    assert len(documents(penstock("tail", "events", "--last", "3", "-F", "--json", config=config))) == 3


def test_an_event_too_large_is_named_and_the_others_go(config: Path) -> None:
    sent = penstock("send", "-", config=config, text="{}\n" + "x" * 1_100_000 + "\n{}\n")
    assert sent.exit_code == 1
    assert "2 events are in" in sent.stdout
    assert "Line 2: 1,100,000 bytes, more than events.max_bytes" in sent.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("send", "gone.ndjson"), "'gone.ndjson' (No such file or directory)"),
        (("send", "-", "--rate", "fast"), "500/s"),
        (("tail", "events", "--partition", "9", "-F"), "has no partition 9; it has 0 to 1"),
        (("dead-letters", "show", "seventeen"), "0-17"),
        (("dead-letters", "show", "0-17"), "no record at 0-17"),
    ],
)
def test_wrong_usage_is_a_sentence(config: Path, arguments: tuple[str, ...], said: str) -> None:
    result = penstock(*arguments, config=config)
    assert result.exit_code in (1, 2), result.output
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.output


def test_predictions_control_and_decisions_are_readable(config: Path) -> None:
    settings = Settings.load(config)
    asyncio.run(use_champion(settings, ModelRef("delay", 3), author="ada@lab", reason="better in July"))
    prediction = {
        "id": "AA1", "score": 0.25, "variant": "champion", "model": "delay", "version": 3, "routing_revision": 1,
        "event_time": 0, "source": {"partition": 0, "offset": 7}, "defaulted": ["visibility"], "fallback": None,
    }  # fmt: skip
    publish(settings, settings.topics.predictions.name, json.dumps(prediction).encode(), [PREDICTION_SCHEMA])
    publish(settings, settings.topics.predictions.name, b"\x1b[2J garbage", [])
    shown = penstock("tail", "-F", config=config).stdout
    assert "AA1  0.250000  delay@3  champion  defaulted: visibility" in shown
    assert "cannot be read" in shown
    assert "\x1b" not in shown
    assert (
        "revision 1  delay@3 serves  by ada@lab: better in July"
        in penstock("tail", "control", "-F", config=config).stdout
    )
    assert "revision 1  use delay@3  by ada@lab" in penstock("tail", "decisions", "-F", config=config).stdout


def test_dead_letters_are_listed_shown_and_replayed_once(config: Path) -> None:
    settings = Settings.load(config)
    letter = DeadLetter(
        b"JFK", b"{not \x00JSON", (), settings.topics.events.name, 1, 5, 0, "decode", "not_json", "It is not JSON."
    )
    _, value, headers = letter.to_record()
    assert value is not None
    publish(settings, settings.topics.dead_letters.name, value, headers)
    [listed] = json.loads(penstock("dead-letters", "list", "--json", config=config).stdout)
    assert (listed["position"], listed["error"], listed["replayed"]) == ("0-0", "not_json", False)
    assert "1 dead letter." in penstock("dead-letters", "list", "--stage", "decode", config=config).stdout
    shown = penstock("dead-letters", "show", "0-0", config=config).stdout
    assert "decode: not_json" in shown
    assert "7b 6e 6f 74 20 00 4a 53" in shown
    replay = ("dead-letters", "replay", "--json")
    counts = [
        json.loads(penstock(*replay, *more, config=config).stdout)
        for more in (["--dry-run"], [], [], ["--again", "--position", "0-0"], ["--stage", "score"])
    ]
    assert [(each["sent"], each["already_replayed"]) for each in counts] == [(1, 0), (1, 0), (0, 1), (1, 0), (0, 0)]
    events = documents(penstock("tail", "events", "-F", "--json", config=config))
    assert [(each["partition"], each["value"]) for each in events] == [(1, "{not \x00JSON")] * 2


def test_ctrl_c_ends_sending_and_says_how_many_events_are_in(config: Path) -> None:
    read, write = os.pipe()
    program = [sys.executable, "-c", "from penstock.streams.cli import main; main()"]
    command = [*program, "send", "-", "--config", str(config)]
    process = subprocess.Popen(command, stdin=read, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.close(read)
    try:
        os.write(write, b'{"id": 1}\n{"id": 2}\n')
        tail = [*program, "tail", "events", "--from-beginning", "--config", str(config)]
        with subprocess.Popen(tail, stdout=subprocess.PIPE, text=True) as tailing:
            assert tailing.stdout is not None
            assert [tailing.stdout.readline().strip()[-9:] for _ in range(2)] == ['{"id": 1}', '{"id": 2}']
            tailing.send_signal(signal.SIGINT)
            assert tailing.wait(20) in (0, 130)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        os.close(write)
    assert out.startswith("2 events are in"), err
    assert process.returncode == 130
