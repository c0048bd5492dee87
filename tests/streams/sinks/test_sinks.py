"""Telling people: each sink on the real thing, with time injected."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from pydantic import SecretStr

from penstock.schemas.alerts import Alert, Cause
from penstock.streams.settings import AlertsSettings
from penstock.streams.sinks.command import Command
from penstock.streams.sinks.sinks import AlertSinks, NotTold, Retries
from penstock.streams.sinks.webhook import Webhook, signature

NOW_S = 1_370_000_000.7

RAISED = Alert(
    "drift-5f0c2ab917", "raised", "warning", "distance: mean 1,040 → 1,620 (location)", "flights", "data_drift",
    1, 1, 1, 1, [Cause("feature:distance", "data_drift", "location", "ecusum", 9.0, {"mean": 1040}, {"mean": 1620})],
)  # fmt: skip
SILENT = msgspec.structs.replace(RAISED, suppressed="canary of delay@4")
ACKNOWLEDGED = msgspec.structs.replace(RAISED, state="acknowledged", acknowledged_by="ada")
CLEARED = msgspec.structs.replace(ACKNOWLEDGED, state="cleared")


class Receiver:
    """A web server that keeps what it got, and answers as it is told: a status each, then 204."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.silent = False
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        if self.silent:
            await asyncio.Event().wait()
        return web.Response(status=self.answers.pop(0) if self.answers else 204, headers={"Location": "/elsewhere"})


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield receiver
    await runner.cleanup()


class Told:
    """What the sinks said of their work, and the pauses they made."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[str, str]] = []
        self.pauses: list[float] = []

    def count(self, sink: str, outcome: str) -> None:
        self.outcomes.append((sink, outcome))

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def sinks(self, *sinks: Any, limit: int = 1000) -> AlertSinks:
        retries = Retries(jitter=lambda: 0.5, sleep=self.sleep)
        return AlertSinks(sinks, logs=False, count=self.count, retries=retries, limit=limit)


@pytest.fixture
def told() -> Told:
    return Told()


async def test_a_webhook_gets_the_alert_as_json_with_a_signature_it_can_check(receiver: Receiver, told: Told) -> None:
    sinks = told.sinks(Webhook(receiver.url, "s3cret", clock=lambda: NOW_S))
    await sinks.send(RAISED)
    await sinks.close()
    [(headers, body)] = receiver.got
    assert json.loads(body)["title"] == RAISED.title
    assert headers["penstock-schema"] == "alert/1"
    assert headers["penstock-timestamp"] == "1370000000"
    assert headers["penstock-signature"] == signature("s3cret", "1370000000", body)
    assert told.outcomes == [("webhook", "told")]


async def test_without_a_secret_there_is_no_signature(receiver: Receiver, told: Told) -> None:
    sinks = told.sinks(Webhook(receiver.url, None))
    await sinks.send(RAISED)
    await sinks.close()
    assert "penstock-signature" not in receiver.got[0][0]


async def test_a_receiver_in_trouble_is_tried_again_with_growing_pauses(receiver: Receiver, told: Told) -> None:
    receiver.answers = [503, 429, 500]
    sinks = told.sinks(Webhook(receiver.url, None))
    await sinks.send(RAISED)
    await sinks.close()
    assert len(receiver.got) == 4
    assert told.pauses == [0.75, 1.5, 3.0]
    assert told.outcomes == [("webhook", "told")]


@pytest.mark.parametrize(("answer", "attempts"), [(400, 1), (302, 1), (503, 5)])
async def test_a_receiver_that_refuses_is_given_up_in_one_line(
    receiver: Receiver, told: Told, caplog: pytest.LogCaptureFixture, answer: int, attempts: int
) -> None:
    receiver.answers = [answer] * attempts
    sinks = told.sinks(Webhook(receiver.url, None))
    await sinks.send(RAISED)
    await sinks.close()
    assert len(receiver.got) == attempts
    assert told.outcomes == [("webhook", "failed")]
    assert [record.getMessage() for record in caplog.records] == [
        f"The webhook was not told that drift-5f0c2ab917 is raised: it answered {answer}, at attempt {attempts}."
    ]


async def test_a_receiver_that_never_answers_holds_nobody_up(receiver: Receiver, told: Told) -> None:
    receiver.silent = True
    webhook = Webhook(receiver.url, None, timeout_s=0.05)
    with pytest.raises(NotTold, match=r"no answer within 0\.05 s") as failure:
        await webhook.tell(RAISED)
    assert failure.value.again
    await webhook.close()


async def test_nobody_listening_is_said_without_the_url(unused_tcp_port: int) -> None:
    webhook = Webhook(f"http://127.0.0.1:{unused_tcp_port}/services/T0/secret", None)
    with pytest.raises(NotTold, match="the connection failed") as failure:
        await webhook.tell(RAISED)
    await webhook.close()
    assert "secret" not in str(failure.value)


async def test_a_command_reads_the_alert_from_its_standard_input(tmp_path: Path, told: Told) -> None:
    copy = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())"
    sinks = told.sinks(Command((sys.executable, "-c", copy, str(tmp_path / "alert; true.json"))))
    await sinks.send(RAISED)
    await sinks.close(deadline_s=60)
    assert json.loads((tmp_path / "alert; true.json").read_text())["id"] == RAISED.id
    assert told.outcomes == [("command", "told")]


@pytest.mark.parametrize(
    ("argv", "timeout_s", "reason", "again"),
    [
        ((sys.executable, "-c", "import sys; sys.exit('no pager')"), 60, r"it exited with 1 \(no pager\)", True),
        ((sys.executable, "-c", "import time; time.sleep(60)"), 0.5, r"not done within 0\.5 s and was ended", True),
        (("./no-such-program",), 60, "cannot be started", False),
    ],
)
async def test_a_command_that_fails_says_why(argv: tuple[str, ...], timeout_s: float, reason: str, again: bool) -> None:
    with pytest.raises(NotTold, match=reason) as failure:
        await Command(argv, timeout_s=timeout_s).tell(RAISED)
    assert failure.value.again is again


async def test_what_wakes_nobody_is_told_to_nobody(receiver: Receiver, told: Told) -> None:
    sinks = told.sinks(Webhook(receiver.url, None))
    for alert in (SILENT, ACKNOWLEDGED, CLEARED):
        await sinks.send(alert)
    await sinks.close()
    assert [json.loads(body)["state"] for _, body in receiver.got] == ["cleared"]


class Stuck:
    """A sink that never comes back."""

    name = "stuck"

    async def tell(self, alert: Alert) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None: ...


async def test_a_full_queue_gives_up_the_oldest_and_closing_gives_up_the_rest(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    sinks = told.sinks(Stuck(), limit=2)
    for number in range(4):
        await sinks.send(msgspec.structs.replace(RAISED, id=f"drift-{number}"))
        await asyncio.sleep(0)
    assert told.outcomes == [("stuck", "dropped")]
    await sinks.close(deadline_s=0.01)
    assert told.outcomes == [("stuck", "dropped")] * 4
    assert [record.getMessage().split()[6] for record in caplog.records] == [f"drift-{n}" for n in (1, 0, 2, 3)]


async def test_the_settings_choose_the_sinks(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    settings = AlertsSettings(
        webhook=receiver.url, webhook_secret=SecretStr("s3cret"), command=(sys.executable, "-c", "")
    )
    caplog.set_level(logging.INFO, "penstock.alerts")
    sinks = AlertSinks.of(settings, count=told.count)
    await sinks.send(RAISED)
    await sinks.send(SILENT)
    await sinks.close(deadline_s=60)
    assert sorted(told.outcomes) == [("command", "told"), ("webhook", "told")]
    assert "penstock-signature" in receiver.got[0][0]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "Raised, warning: distance: mean 1,040 → 1,620 (location) [drift-5f0c2ab917]"),
        (
            "INFO",
            "Raised, warning: distance: mean 1,040 → 1,620 (location) (silent: canary of delay@4) [drift-5f0c2ab917]",
        ),
    ]
