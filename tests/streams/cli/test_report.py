"""`penstock report` as a person types it, against a real broker and a real registry."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import histories
import numpy as np
import pytest
import torch
from aiokafka import AIOKafkaProducer
from histories import DAY_MS, HOUR_MS, MODEL, MONDAY
from paired_rows import candidate, paired_rows
from typer.testing import CliRunner, Result

from penstock.models.package import write_package
from penstock.models.package_files import read_profile
from penstock.models.registry import Registry
from penstock.models.signature import Signature, TensorInput
from penstock.monitoring.comparison.compare import compare
from penstock.monitoring.config import LabelsConfig
from penstock.monitoring.quality.measure import measure
from penstock.schemas.alerts import Alert, encode_alert
from penstock.schemas.comparison_wire import encode_comparison
from penstock.schemas.profile import ReferenceProfile
from penstock.schemas.quality import encode_quality
from penstock.schemas.records import SCHEMA_HEADER
from penstock.schemas.summaries import encode_summary
from penstock.streams.cli import app
from penstock.streams.settings import Settings

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
[labels]
maturity_s = 3600
slices = ["origin"]
groups = ["origin"]
[features.distance]
type = "float"
[features.wind]
type = "float"
[features.income]
type = "float"
sensitive = true
[features.seats]
type = "int"
[features.origin]
type = "category"
[features.sex]
type = "category"
sensitive = true
"""
DAYS = 4
Record = tuple[bytes, list[tuple[str, bytes]]]


@pytest.fixture
def config(kafka: Kafka, tmp_path: Path) -> Path:
    path = tmp_path / "penstock.toml"
    path.write_text(CONFIG.format(name=f"report-{uuid.uuid4().hex[:8]}", server=kafka.servers[0]))
    assert penstock("topics", "create", config=path).exit_code == 0
    return path


def penstock(*arguments: str, config: Path) -> Result:
    return CliRunner().invoke(app, [*arguments, "--config", str(config)])


class Late(torch.nn.Module):
    """Late where the wind blows."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(0.2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.slope * (x[:, 0] - 10))


def register_model(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> ReferenceProfile:
    """Version 3 of delay, trained on what `histories` calls training data."""
    monkeypatch.syspath_prepend(str(settings.directory))
    (settings.directory / "late.py").write_text(
        "import torch\n\n\nclass Late(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.slope = torch.nn.Parameter(torch.tensor(0.2))\n\n"
        "    def forward(self, x):\n        return torch.sigmoid(self.slope * (x[:, 0] - 10))\n"
    )
    rng = np.random.default_rng(1)
    for seed in range(3):
        package = write_package(
            settings.directory / "packages", settings.catalogue, name="delay", network=Late(), factory="late:Late",
            signature=Signature((TensorInput("x", ("wind", "distance", "income", "seats")),)),
            reference=histories.columns(rng, 8192), times=MONDAY - 30 * DAY_MS + np.arange(8192) * 300_000, seed=seed,
        )  # fmt: skip
        ref = Registry(settings.registry_location).add(package)
    assert str(ref) == MODEL
    return read_profile(Registry(settings.registry_location).path(ref))


def history(profile: ReferenceProfile) -> list[Record]:
    """Four days of summaries and outcomes; on the last two the distance has moved by two deviations."""
    rng = np.random.default_rng(2)
    found: list[Record] = []
    for segment in range(2 * DAYS):
        columns = histories.columns(rng, histories.SEGMENT_ROWS, shift=2.0 * (segment >= DAYS))
        block = histories.block(columns, segment, MONDAY + segment * 12 * HOUR_MS)
        truth = (rng.random(block.rows) < block.score).astype(np.float64)
        found.append(encode_summary(histories.summary(block, profile)))
        quality = measure(
            block, truth, block.event_times + 60_000, LabelsConfig(maturity_s=3600, slices=("origin",)),
            segment=segment, part=0, complete=True, watermark=0,
        )  # fmt: skip
        found.append(encode_quality(quality))
        paired = paired_rows(
            block.score.tolist(), candidate((block.score / 2).tolist()), event_times=block.event_times.tolist(),
            first_offset=int(block.offsets[0]), slices={"origin": block.columns.categories[0].decoded()},
        )  # fmt: skip
        comparison = compare(
            paired, LabelsConfig(slices=("origin",)), segment=segment, part=0, complete=True, watermark=0
        )
        found.append(encode_comparison(comparison))
    return found


def publish(settings: Settings, topic: str, records: Sequence[Record]) -> None:
    async def work() -> None:
        async with AIOKafkaProducer(bootstrap_servers=list(settings.kafka.servers)) as producer:
            for value, headers in records:
                await producer.send(topic, value, headers=headers)

    asyncio.run(work())


def test_a_stretch_is_read_from_the_topics_and_compared(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load(config)
    profile = register_model(settings, monkeypatch)
    other_records: list[Record] = [(b"{}", [(SCHEMA_HEADER, b"operations/1")]), (b"damaged", history(profile)[0][1])]
    publish(settings, settings.topics.summaries.name, [*history(profile), *other_records])
    alert = Alert("drift-1", "raised", "warning", "distance moved", settings.pipeline.name, "data_drift",
                  MONDAY + 2 * DAY_MS, MONDAY + 2 * DAY_MS, MONDAY + 2 * DAY_MS, 1, [])  # fmt: skip
    _, value, headers = encode_alert(alert)
    publish(settings, settings.topics.alerts.name, [(value, headers)])
    file = config.parent / "page.html"
    shown = penstock("report", "--out", str(file), config=config)
    assert shown.exit_code == 0, shown.output
    assert "distance: mean" in shown.stdout
    assert "1 alert (1 not cleared)." in shown.stdout
    html = file.read_text("utf-8")
    assert "AUC" in html
    assert "1 record could not be read" in html
    assert "income" in html
    assert "F-withheld" not in html
    assert "delay@4 beside delay@3" in html

    calm = penstock("report", "--to", "2013-06-05", "--out", str(file), "--json", config=config)
    assert calm.exit_code == 0, calm.output
    document = json.loads(calm.stdout)
    assert not any(feature["differs"] for feature in document["features"])
    assert document["alerts"] == []
    assert document["reference"] == MODEL
    drifted = json.loads(penstock("report", "--last", "1.4d", "--out", str(file), "--json", config=config).stdout)
    assert [feature["name"] for feature in drifted["features"] if feature["differs"]] == ["distance"]


def test_without_the_model_the_page_is_still_made(config: Path) -> None:
    settings = Settings.load(config)
    publish(settings, settings.topics.summaries.name, history(histories.profile(np.random.default_rng(1))))
    shown = penstock("report", "--out", str(config.parent / "page.html"), config=config)
    assert shown.exit_code == 0, shown.output
    assert "The registry has no delay@3" in shown.stderr
    assert "There is no reference profile to compare with." in shown.stdout


def test_a_stretch_without_events_says_where_there_are_some(config: Path) -> None:
    settings = Settings.load(config)
    nothing = penstock("report", "--last", "7d", config=config)
    assert nothing.exit_code == 1
    assert "holds no summaries yet. `penstock up`, or `penstock worker watch`, writes them" in said_by(nothing)
    publish(settings, settings.topics.summaries.name, history(histories.profile(np.random.default_rng(1))))
    for arguments in (("--from", "2014-01-01"), ("--to", "2013-01-01"), ("--from", "2033-01-01")):
        elsewhere = penstock("report", *arguments, config=config)
        assert elsewhere.exit_code == 1
        assert "it holds events from 2013-06-03 00:00 to 2013-06-06 12:59 (UTC)" in said_by(elsewhere)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "yesterday"), "'yesterday' is no time; expected for example 2013-06-01"),
        (("--last", "a week"), "'a week' is no length of time; expected for example 90m"),
        (("--last", "7d", "--from", "2013-06-01"), "give either --last or --from and --to"),
        (("--from", "2013-06-02", "--to", "2013-06-01"), "it is not after --from"),
    ],
)
def test_wrong_usage_is_a_sentence(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    result = penstock("report", *arguments, config=tmp_path / "penstock.toml")
    assert result.exit_code == 2
    assert said in said_by(result)


def said_by(result: Result) -> str:
    return " ".join(result.stderr.replace("│", " ").split())
