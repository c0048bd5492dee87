"""The table [labels]: what it becomes, and what it refuses."""

from __future__ import annotations

import tomllib

import pytest

from penstock.monitoring.config import LabelsConfig
from penstock.schemas.errors import ConfigurationError
from penstock.streams.settings import Settings

MINIMAL = """
[pipeline]
name = "flights"
[events]
topic = "departures"
[features.distance]
type = "float"
[features.origin]
type = "category"
[features.night]
type = "bool"
[features.sex]
type = "category"
sensitive = true
[labels]
"""


def settings(text: str) -> Settings:
    return Settings.of(tomllib.loads(MINIMAL + text), environ={})


def test_what_is_left_out_has_the_defaults_of_the_monitors() -> None:
    assert settings("").labels.config() == LabelsConfig()


def test_all_of_it_reaches_the_monitors() -> None:
    found = settings(
        'task = "regression"\nmaturity_s = 60\nretention_s = 120\nsilence = 0.5\nthreshold = 0.3\nbucket_s = 3600\n'
        'slices = ["origin", "night"]\ngroups = ["night"]\nrows = 5000\nerror_limit = 90'
    )
    assert found.labels.config() == LabelsConfig(
        "regression", 60, 120, 0.5, 0.3, 3600, ("origin", "night"), ("night",), 5000, 90
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retention_s = 60", "labels.retention_s is 60; expected at least maturity_s, which is 86400"),
        ("silence = 0.5", "labels.silence is 0.5; expected 0 or 1, as labels.task is binary"),
        ('groups = ["origin"]', "labels.groups is 'origin'; expected one of labels.slices. Add it to labels.slices."),
        ('slices = ["distance"]', "labels.slices.0 is 'distance'; expected a category, bool or int feature"),
        (
            'slices = ["origin", "sex"]',
            "labels.slices.1 is 'sex', which is sensitive, so that its values are not in the scored log; expected a "
            "feature that is not sensitive. Let the events carry a feature that may be kept",
        ),
        ("error_limit = 1e9", "labels.error_limit is 1000000000.0"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings(text)
    assert said in str(refused.value)
