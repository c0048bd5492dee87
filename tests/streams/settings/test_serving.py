"""[fallback] and [automation]: what contradicts itself is refused by its key."""

from __future__ import annotations

import tomllib

import pytest

from penstock.schemas.errors import ConfigurationError
from penstock.streams.settings import Settings

MINIMAL = """
[pipeline]
name = "flights"
[events]
topic = "departures"
[features.distance]
type = "float"
"""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[automation]\nlevel = "partial"', "automation.abstain is missing; expected [low, high]"),
        ("[automation]\nabstain = [0.4, 0.6]", "automation.abstain is given; expected nothing"),
        ('[automation]\nlevel = "partial"\nabstain = [0.6, 0.4]', "expected [low, high] with low ≤ high"),
        ('[automation]\nlevel = "shadow_people"\n[scored]\nenabled = false', "scored.enabled is false; expected true"),
        ("[fallback]\nqueue_ms = 100.0", "fallback.leave_ms is 200; expected less than queue_ms"),
    ],
)
def test_what_contradicts_itself_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings.of(tomllib.loads(MINIMAL + text))
    assert sentence in str(refused.value)


def test_a_model_acts_by_itself_unless_told_otherwise() -> None:
    assert Settings.of(tomllib.loads(MINIMAL)).automation.level == "full"
