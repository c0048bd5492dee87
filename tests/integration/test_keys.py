"""A worker under keys: it loads what was signed, follows who may command, and keeps what is secret."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from pipelines import Kafka, MakeProject, Witness, until
from traffic import producing
from typer.testing import CliRunner

from penstock.models.registry import Registry
from penstock.schemas.dead_letters import DeadLetter
from penstock.schemas.records import ModelRef
from penstock.schemas.signing import ANYBODY
from penstock.streams.cli import app
from penstock.streams.control import ControlPlane, champion, use_champion
from penstock.streams.control.signatures import ControlSigner
from penstock.streams.key_files import create_secret_key, create_signing_key, read_private_key

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

TOKEN = "b1f0e5b0c3f94e6f"
IBAN = "DE02120300000000202051"


async def test_nobody_without_a_key_is_served_followed_or_shown_anything(
    project_named: MakeProject,
    kafka: Kafka,
    witness: Witness,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    public, letters = create_signing_key(tmp_path, "release"), create_secret_key(tmp_path, "letters")
    monkeypatch.setenv("PENSTOCK_ADMIN__TOKEN", TOKEN)
    more = f"""
        [features.iban]
        type = "category"
        path = "iban"
        sensitive = true
        [security]
        trusted_keys = ["{public}"]
        control_keys = ["{public}"]
        control_signing_key = "{tmp_path / "release.pem"}"
        dead_letter_keys = ["{tmp_path / "letters.key"}"]
        """
    project = await project_named("under-keys", mode="exactly_once", more=more, serves=False)
    settings, first = project.settings, ModelRef("sum", 1)
    Registry(settings.registry_location).sign(first, read_private_key(tmp_path / "release.pem"))
    await use_champion(settings, first, author="test", reason="signed")
    worker = project.start_worker()
    await until(lambda: "Scoring partitions" in worker.said or worker.process.poll() is not None, "it scores")

    # A model that nobody signed, by one who may command; then a signed one, by one who may not.
    unsigned = project.package(seed=2)
    await use_champion(settings, unsigned, author="test", reason="forgot to sign it")
    await until(lambda: "it is not signed. Have it signed with" in worker.said, "the refusal of a model")
    stranger = replace(ControlPlane.of(settings), trusted=ANYBODY, signer=ControlSigner())
    await stranger.change(champion(settings.pipeline.name, first), command="use", reason="by the back door")
    await until(lambda: "it is not signed. Where it is what should serve" in worker.said, "a stranger's record")

    bad = json.dumps({"id": "e1", "iban": IBAN, "features": {"x0": "no number"}}).encode()
    async with producing(kafka.servers) as producer:
        await producer.send_and_wait(settings.topics.events.name, bad, b"key", partition=0)
    [record] = await witness.read(settings.topics.dead_letters.name, lambda seen: len(seen) == 1, timeout_s=30)
    assert IBAN.encode() not in repr((record.key, record.value, record.headers)).encode()
    letter = DeadLetter.from_record(record.key, record.value, record.headers)
    assert letter.opened({letters.id: letters}).value == bad
    shown = ["dead-letters", "show", f"{record.partition}-{record.offset}", "--config", str(settings.file)]
    assert IBAN in (await asyncio.to_thread(CliRunner().invoke, app, shown)).stdout
    (tmp_path / "letters.key").rename(tmp_path / "elsewhere.key")
    locked = await asyncio.to_thread(CliRunner().invoke, app, shown)
    assert f"encrypted with the key {letters.id}, which is not here" in locked.stdout

    assert (worker.get("/readyz")[0], worker.get("/metrics")[0]) == (200, 401)
    assert await worker.stopped() == 0
    assert IBAN not in worker.said
