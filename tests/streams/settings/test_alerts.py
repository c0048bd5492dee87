"""The table [alerts]: what it becomes, and what it refuses without giving a secret away."""

from __future__ import annotations

import tomllib

import pytest

from penstock.monitoring.config import AlertsConfig
from penstock.schemas.errors import ConfigurationError
from penstock.streams.settings import Settings

MINIMAL = """
[pipeline]
name = "flights"
[events]
topic = "departures"
[features.distance]
type = "float"
[alerts]
"""


def settings(text: str) -> Settings:
    return Settings.of(tomllib.loads(MINIMAL + text), environ={"PENSTOCK_ALERTS__WEBHOOK_SECRET": "s3cret"})


def test_what_is_left_out_has_the_defaults_of_the_alert_book() -> None:
    assert settings("").alerts.config() == AlertsConfig()


def test_all_of_it_reaches_the_alert_book() -> None:
    found = settings(
        "confirm = [2, 3]\nclear_after = 20\nclear_after_s = 30\ncool_down_s = 60\nremind_s = 600\n"
        'severity = {volume = "critical"}'
    )
    assert found.alerts.config() == AlertsConfig((2, 3), 20, 30.0, 60.0, 600.0, {"volume": "critical"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("confirm = [3, 2]", "alerts.confirm is [3, 2]; expected [N, T] with 1 ≤ N ≤ T"),
        (
            'severity = {datadrift = "info"}',
            "alerts.severity.datadrift is no family of alarms; expected one of data_drift,",
        ),
        ('severity = {volume = "loud"}', "alerts.severity.volume is 'loud'"),
        ("remind_s = 0", "alerts.remind_s is 0"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings(text)
    assert said in str(refused.value)


def test_no_secret_is_ever_shown() -> None:
    assert "s3cret" not in repr(settings('webhook = "https://example.org/hook"'))
    with pytest.raises(ConfigurationError) as refused:
        settings('webhook = "https://ada:hunter2@example.org/hook"')
    assert "hunter2" not in str(refused.value)
