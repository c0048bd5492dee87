"""What is asked of the scored log before a candidate runs in shadow, alone or beside a canary."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.schemas.records import ModelRef
from penstock.streams.cli.changing import Changing
from penstock.streams.control import candidates
from penstock.streams.control.candidates import FeaturesNotLogged, FeaturesWithheld, Newest
from penstock.streams.settings import Settings

TREE = {
    "pipeline": {"name": "p"},
    "events": {"topic": "e"},
    "features": {"amount": {"type": "float"}, "iban": {"type": "float", "sensitive": True}},
}
TWO = ModelRef("fraud", 2)


@pytest.fixture
def changing(monkeypatch: pytest.MonkeyPatch) -> Changing:
    """Of a pipeline whose log has no `amount` yet."""

    async def newest(settings: Settings) -> dict[int, Newest]:
        return {0: Newest(frozenset(), 0, 7)}

    monkeypatch.setattr(candidates, "newest_blocks", newest)
    return Changing(Settings.of(TREE, file=Path("penstock.toml")), None, "", None, False)


def reads(monkeypatch: pytest.MonkeyPatch, *features: str) -> None:
    signature = SimpleNamespace(features=features, check=lambda catalogue, model: None)
    registry: Any = SimpleNamespace(manifest=lambda model: SimpleNamespace(signature=signature))
    monkeypatch.setattr("penstock.streams.registry.registry_of", lambda settings: registry)


@pytest.mark.parametrize("alone", [True, False])
def test_a_feature_that_is_not_logged_yet_is_refused_for_both(
    changing: Changing, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads(monkeypatch, "amount")

    with pytest.raises(FeaturesNotLogged, match="has no amount yet; it can have it from offset 7 of partition 0 on"):
        changing.check_logged(TWO, in_shadow_alone=alone)


def test_a_canary_that_reads_a_sensitive_feature_goes_without_its_shadow(
    changing: Changing, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reads(monkeypatch, "iban")

    with pytest.raises(FeaturesWithheld, match="Try it on live traffic: penstock canary start fraud@2"):
        changing.check_logged(TWO)
    changing.check_logged(TWO, in_shadow_alone=False)

    assert capsys.readouterr().err.startswith("fraud@2 is compared by the keys that it answers alone: it reads iban,")
