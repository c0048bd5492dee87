from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from penstock.schemas.errors import ConfigurationError
from penstock.streams.demo import report, run
from penstock.streams.demo.evaluation import auc, log_loss
from penstock.streams.demo.findings import month_of
from penstock.streams.demo.flights import Flights
from penstock.streams.demo.folder import demo_folder
from penstock.streams.demo.ledger import Account
from penstock.streams.demo.traffic import BAD, Traffic, spoilt
from penstock.streams.embedded.errors import DirectoryInUse
from penstock.streams.embedded.processes import DirectoryLock

EVENTS = 3_000
YEAR_ENDS = 1_388_534_400_000
"""2014-01-01T00:00Z, Unix ms."""
MONTH_A_SECOND = 30 * 86_400.0


class Books(NamedTuple):
    flights: Flights
    traffic: Traffic
    account: Account

    @property
    def scores(self) -> NDArray[np.float64]:
        """[flights], NaN: none."""
        scores, good = np.full(len(self.flights), np.nan), self.traffic.rows != BAD
        scores[self.traffic.rows[good]] = self.account.score[good]
        return scores


@pytest.fixture
def books(monkeypatch: pytest.MonkeyPatch) -> list[Books]:
    """The books of each run, from the moment before they are summed up."""
    kept: list[Books] = []

    def keeping(flights: Flights, traffic: Traffic, account: Account, *arguments: Any, **named: Any) -> Any:
        kept.append(Books(flights, traffic, account))
        return report.make_report(flights, traffic, account, *arguments, **named)

    monkeypatch.setattr(run, "make_report", keeping)
    return kept


@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.slow
def test_two_runs_at_different_speeds_and_in_both_modes_give_the_same_predictions(
    tmp_path: Path, books: list[Books]
) -> None:
    screen, data, at_once, at_pace = Console(file=io.StringIO(), width=100), *map(tmp_path.joinpath, "dfp")
    assert run.run_demo(events=EVENTS, report=at_once, data=data, console=screen) == 0
    assert run.run_demo(
        events=EVENTS, speed_up=MONTH_A_SECOND, report=at_pace, data=data, mode="exactly_once", console=screen
    ) == 0  # fmt: skip

    fast, paced = (each.account for each in books)
    np.testing.assert_array_equal(fast.score, paced.score)
    assert (np.isnan(fast.score) == (fast.dead_letters == 1)).all()
    assert paced.lost == paced.doubled == paced.strays == 0

    found = json.loads(at_once.read_bytes())
    bad = len(spoilt(b"{}"))
    counts = {name: found[name] for name in ("events", "predictions", "dead_letters", "lost", "doubled")}
    assert counts == {
        "events": EVENTS + bad, "predictions": EVENTS, "dead_letters": bad, "lost": 0, "doubled": 0,
    }  # fmt: skip
    assert set(found["auc_by_month"]) == {str(month) for month in range(3, 13)}
    assert found["auc"] > 0.68 > found["rule_auc"]
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
    said = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "events per second" in said
    assert "What it would have cost not to look" in said
    assert [chapter["what"] for chapter in found["story"]] == ["in shadow", "undecided"]
    assert "too little to decide" in said
    check_what_the_service_knows(found, books[0])
    check_that_both_faults_were_seen(json.loads(at_pace.read_bytes()))


def check_what_the_service_knows(found: dict[str, Any], books: Books) -> None:
    """Quality from the summaries is that of the books, but for the bins of the AUC; every label was counted."""
    flights, scores = books.flights, books.scores
    months = np.array([month_of(time) for time in flights.time.tolist()])
    assert set(found["quality_by_month"]) == {str(month) for month in range(3, 13)}
    for month, quality in found["quality_by_month"].items():
        rows = (months == int(month)) & (flights.time < YEAR_ENDS) & flights.labelled
        late = flights.late[rows]
        assert quality["auc"] == pytest.approx(auc(scores[rows], late), abs=0.005)
        assert quality["log_loss"] == pytest.approx(log_loss(scores[rows], late), abs=1e-3)
    assert found["quality"]["coverage"] == pytest.approx(flights.labelled.mean(), abs=1e-4)


def check_that_both_faults_were_seen(found: dict[str, Any]) -> None:
    """Each within its first half, by a feature that it spoilt; and they cost something.

    In a run at a pace: when a year passes in a second, the judge hears one partition's summer before another's spring.
    """
    injected = {alert["fault"] for alert in found["alerts"]}
    for fault in found["faults"]:
        assert fault["name"] in injected
        assert fault["alert"]["time"] < (fault["start"] + fault["end"]) / 2
        assert fault["log_loss"] > fault["without"]["log_loss"]
    assert not [alert for alert in found["alerts"] if alert["family"] == "numerics"]


@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "wrapper"),
    [
        (signal.SIGINT, []),
        (signal.SIGTERM, ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]),  # in the background of a script
    ],
)
def test_an_interrupted_demo_leaves_no_process_behind(
    tmp_path: Path, number: signal.Signals, wrapper: list[str]
) -> None:
    data = tmp_path / "demo"
    command = [*wrapper, sys.executable, "-m", "penstock", "demo", "--events", str(EVENTS), "--data", str(data)]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 120
        while not (data / "judge.log").exists():
            assert demo.poll() is None, demo.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(demo.pid, number)
        said, _ = demo.communicate(timeout=60)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == run.INTERRUPTED
    assert "Interrupted" in said
    assert "Traceback" not in said
    # Every child holds the lock of its folder while it lives. One that was just being started is ended by its watchdog.
    for folder in (data, data / "kafka", data / "redis"):
        lock = DirectoryLock(folder)
        lock.acquire(patience_s=20)
        lock.release()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigurationError, match="other files"), demo_folder(tmp_path):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_second_run_in_a_folder_starts_clean(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    with demo_folder(data) as folder:
        (folder.path / "registry").mkdir()
        (folder.path / "notes.txt").write_text("mine")
    with demo_folder(data) as folder:
        assert not (folder.path / "registry").exists()
        assert (folder.path / "notes.txt").exists()


def test_two_demos_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.streams.demo.folder._PATIENCE_S", 0.0)
    with demo_folder(tmp_path / "demo"), pytest.raises(DirectoryInUse), demo_folder(tmp_path / "demo"):
        pass


def test_a_temporary_folder_is_gone_afterwards() -> None:
    with demo_folder(None) as folder:
        assert folder.path.is_dir()
    assert not folder.path.exists()


@pytest.mark.parametrize("option", ["events", "speed_up"])
def test_numbers_must_be_positive(option: str) -> None:
    with pytest.raises(ConfigurationError, match="above 0"):
        run.run_demo(**{option: 0}, console=Console(file=io.StringIO()))  # type: ignore[arg-type]
