"""The trail of decisions as a reader asks for it, whatever stands on the topic."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from penstock.monitoring.config import RolloutConfig
from penstock.schemas.control import Control, Decision, Staging
from penstock.schemas.gates import Look
from penstock.schemas.records import CONTROL_SCHEMA, DECISION_SCHEMA, ModelRef
from penstock.streams.control import changes
from penstock.streams.control.trail import Trail, collect, kind_of

ONE, TWO, THREE = (ModelRef("delay", version) for version in (1, 2, 3))
FIRST = Control("flights", 1, ONE, "ada", "the first", 0)
TRIED = replace(changes.start_rollout(FIRST, TWO, plan=RolloutConfig()), revision=2)
LOOK = Look("rollout-2", TWO, ONE, 0, 0.01, 0, "hold", "too few rows")


def decided(control: Control, **more: Any) -> Decision:
    return Decision("flights", control.revision, "asked for", "ada", "", 0, **more)


STORY = [
    decided(FIRST, staging=Staging(TWO, "5f0c", passed=False)),
    decided(FIRST, after=FIRST),
    decided(FIRST, staging=Staging(TWO, "77aa", passed=True)),
    decided(TRIED, before=FIRST, after=TRIED),
    decided(TRIED, look=LOOK),
    decided(TRIED, before=TRIED, after=replace(TRIED, fallback=THREE)),
    decided(TRIED, before=TRIED, after=changes.step(TRIED), look=LOOK),
]


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6]),
        ({"kind": "change"}, [1, 3, 5, 6]),
        ({"kind": "look"}, [4]),
        ({"kind": "staging"}, [0, 2]),
        ({"model": TWO}, [0, 2, 3, 4, 6]),
        ({"model": THREE}, [5]),
        ({"rollout": "rollout-2"}, [3, 4, 6]),
        ({"rollout": "rollout-2", "kind": "change"}, [3, 6]),
    ],
)
def test_the_trail_can_be_asked_for_a_kind_a_model_and_a_rollout(wanted: dict[str, Any], places: list[int]) -> None:
    assert Trail(STORY).select(**wanted) == [STORY[place] for place in places]


def test_a_change_that_a_look_led_to_is_a_change() -> None:
    assert kind_of(STORY[-1]) == "change"


def test_a_staging_counts_for_its_very_package_alone_and_the_last_one_counts() -> None:
    trail = Trail([*STORY, decided(TRIED, staging=Staging(TWO, "77aa", passed=False))])
    found = trail.latest_staging(TWO, digest="77aa")
    assert found is not None
    assert not found.passed
    assert trail.latest_staging(TWO, digest="0000") is None
    assert trail.latest_staging(THREE, digest="77aa") is None


async def test_what_cannot_be_read_is_said_and_hides_nothing() -> None:
    async def records() -> AsyncIterator[Any]:
        good = msgspec.json.encode(STORY[1])
        for offset, (key, value, schema) in enumerate(
            [
                (b"flights", good, DECISION_SCHEMA),
                (b"flights", good, CONTROL_SCHEMA),
                (b"flights", None, DECISION_SCHEMA),
                (b"flights", b"{}", DECISION_SCHEMA),
                (b"trains", good, DECISION_SCHEMA),
                (b"flights", good, DECISION_SCHEMA),
            ]
        ):
            yield SimpleNamespace(key=key, value=value, headers=[schema], topic="flights.decisions", offset=offset)

    trail = await collect(records(), "flights")
    assert trail.decisions == [STORY[1], STORY[1]]
    assert [error.offset for error in trail.unreadable] == [1, 2, 3]
    assert "names schema control/1, not decision/1" in str(trail.unreadable[0])
