"""What is remembered of replays is exactly what was replayed, in few ranges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.streams.console.replay_marks import Marks

offsets = st.sets(st.integers(0, 60))


@given(st.data(), offsets, offsets)
def test_marks_remember_what_was_replayed_at_any_point_of_any_walk(
    data: st.DataObject, existing: set[int], first: set[int]
) -> None:
    marks, replayed = Marks(), set[int]()
    for chosen in (first, data.draw(offsets)):
        marks = Marks(marks.ranges())
        for offset in sorted(existing):
            done = offset in marks or offset in chosen
            marks.see(offset, done)
            if done:
                replayed.add(offset)
            again = Marks(marks.ranges())
            assert (
                {each for each in existing if each in marks} == {each for each in existing if each in again} == replayed
            )
        assert {each for each in existing if each in marks} == replayed


@given(offsets, offsets)
def test_there_is_one_range_per_run_of_replayed_letters(existing: set[int], chosen: set[int]) -> None:
    marks = Marks()
    runs, before = 0, False
    for offset in sorted(existing):
        marks.see(offset, offset in chosen)
        runs += (offset in chosen) and not before
        before = offset in chosen
    assert len(marks.ranges()) == runs
