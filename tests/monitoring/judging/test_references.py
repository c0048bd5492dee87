"""Which reference the stream is judged against while partitions change over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.judging.references import Followed


@given(
    st.lists(st.sampled_from(["m@1", "m@2", "m@3"]), min_size=1, max_size=3, unique=True), st.lists(st.integers(0, 2))
)
def test_whatever_the_order_the_last_rollout_is_followed(models: list[str], turns: list[int]) -> None:
    """Three partitions pass through the same rollouts, each at its own time; every rollout has a revision."""
    followed = Followed()
    places = [0, 0, 0]
    newest = 0
    for partition in [*turns, *([0, 1, 2] * len(models))]:
        place = places[partition]
        if followed.admit(partition, models[place], place):
            assert place >= newest
            newest = place
        places[partition] = min(place + 1, len(models) - 1)

    assert followed.reference == models[-1]


def test_a_rollback_is_a_change_like_any_other() -> None:
    followed = Followed()
    seen = [("m@1", 1), ("m@2", 2), ("m@1", 3)]

    assert [followed.admit(0, model, revision) for model, revision in seen] == [True] * 3
    assert followed.reference == "m@1"


def test_a_new_partition_with_an_old_reference_changes_nothing() -> None:
    followed = Followed()
    followed.admit(0, "m@1", 1)
    followed.admit(0, "m@2", 2)

    assert not followed.admit(1, "m@1", 1)
    assert followed.reference == "m@2"
