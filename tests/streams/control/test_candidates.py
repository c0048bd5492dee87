"""Whether a model may be tried: what is refused, and what the refusal says to do."""

from __future__ import annotations

import pytest

from penstock.models.features import Catalogue, Feature
from penstock.schemas.columns import FeatureType
from penstock.schemas.control import Decision, Staging
from penstock.schemas.errors import ModelRefused
from penstock.schemas.records import ModelRef
from penstock.streams.control.candidates import (
    QUIET_MS,
    FeaturesNotLogged,
    FeaturesWithheld,
    Newest,
    require_logged,
    require_staged,
)
from penstock.streams.control.trail import Trail

TWO = ModelRef("delay", 2)
NAMES = ("distance", "wind", "passport")
CATALOGUE = Catalogue(tuple(Feature(n, FeatureType("float"), path=n, sensitive=n == "passport") for n in NAMES))
OLD, NEW = frozenset({"distance"}), frozenset(NAMES)


def staged(passed: bool, *checks: tuple[str, bool]) -> Trail:
    return Trail([Decision("flights", 1, "stage", "ada", "", 0, staging=Staging(TWO, "5f0c", passed, checks))])


def test_what_was_staged_as_it_is_may_be_deployed() -> None:
    require_staged(staged(True), TWO, digest="5f0c")


@pytest.mark.parametrize(
    ("trail", "digest", "said"),
    [
        (Trail([]), "5f0c", "it has not been staged. First: penstock stage delay@2."),
        (staged(True), "77aa", "it has not been staged. First: penstock stage delay@2."),
        (
            staged(False, ("the golden rows agree", True), ("it answers within 20 ms", False)),
            "5f0c",
            "its staging did not pass: it answers within 20 ms. First: penstock stage delay@2.",
        ),
    ],
    ids=["never tried", "another package of that name", "tried in vain"],
)
def test_what_was_not_is_refused(trail: Trail, digest: str, said: str) -> None:
    with pytest.raises(ModelRefused) as refused:
        require_staged(trail, TWO, digest=digest)
    assert said in str(refused.value)


def test_a_log_that_has_every_feature_feeds_a_shadow() -> None:
    require_logged(TWO, ("distance", "wind"), CATALOGUE, {0: Newest(NEW, 1_000, 7)})
    require_logged(TWO, ("distance", "wind"), CATALOGUE, {})


def test_a_feature_that_the_log_lacks_can_be_there_from_its_end_on() -> None:
    newest = {0: Newest(OLD, 1_000, 7), 1: Newest(NEW, 1_000, 9), 2: Newest(OLD, 900, 8)}
    with pytest.raises(
        FeaturesNotLogged, match=r"no wind yet; it can have it from offset 7 of partition 0, 8 of"
    ) as no:
        require_logged(TWO, ("distance", "wind"), CATALOGUE, newest)
    assert no.value.from_offsets == {0: 7, 2: 8}


def test_a_quiet_partition_tells_nothing_of_what_workers_write_today() -> None:
    newest = {0: Newest(OLD, 1_000, 7), 1: Newest(NEW, 1_001 + QUIET_MS, 9)}
    require_logged(TWO, ("distance", "wind"), CATALOGUE, newest)


def test_a_sensitive_feature_will_never_be_there() -> None:
    with pytest.raises(FeaturesWithheld, match=r"passport, which is sensitive.*never in the scored log"):
        require_logged(TWO, ("distance", "passport"), CATALOGUE, {0: Newest(NEW, 1_000, 7)})
