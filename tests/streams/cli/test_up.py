from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from penstock.streams import embedded_session
from penstock.streams.cli import app
from penstock.streams.embedded.processes import is_running
from penstock.streams.settings import Settings


@pytest.mark.kafka
@pytest.mark.slow
def test_up_brings_servers_topics_and_a_worker_and_takes_them_away(tmp_path: Path) -> None:
    CliRunner().invoke(app, ["init", str(tmp_path), "--name", "fraud"])
    config = tmp_path / "penstock.toml"
    config.write_text(config.read_text().replace("port = 6066", "port = 0"))
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "penstock", "up", "--embedded"]
        up = subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=output)
    try:
        wait_for(log, "No model serves fraud yet", up)
        session = embedded_session.find(tmp_path)
        assert session is not None
        listed = CliRunner().invoke(app, ["topics", "list", "-c", str(config)])
        assert listed.exit_code == 0, listed.output
    finally:
        up.send_signal(signal.SIGTERM)
        code = up.wait(60)

    worker = int(log.read_text().partition("worker runs as process ")[2].partition(".")[0])
    assert code == 0, log.read_text()
    assert not is_running(worker)
    assert embedded_session.find(tmp_path) is None


def test_embedded_servers_contradict_a_secured_cluster(tmp_path: Path) -> None:
    CliRunner().invoke(app, ["init", str(tmp_path)])
    config = str(tmp_path / "penstock.toml")

    secured = CliRunner().invoke(
        app, ["up", "--embedded", "-c", config], env={"PENSTOCK_KAFKA__SECURITY_PROTOCOL": "SSL"}
    )
    named = CliRunner().invoke(app, ["up", "--embedded", "-c", config], env={"PENSTOCK_KAFKA__SERVERS": "broker:9092"})

    assert (secured.exit_code, "expected PLAINTEXT with --embedded" in secured.stderr) == (2, True)
    assert (named.exit_code, "PENSTOCK_KAFKA__SERVERS" in named.stderr) == (2, True)
    assert Settings.load(tmp_path / "penstock.toml", {}).kafka.security_protocol == "PLAINTEXT"


def wait_for(log: Path, sentence: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while sentence not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
