"""The switch follows a value that stays where it is, and nothing that only passes through."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from penstock.streams.scoring.hysteresis import Hysteresis

STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10)), max_size=60)
"""Whole seconds since the value before, and the value."""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def told(steps: list[tuple[int, int]], *, on_s: float = 4, off_s: float = 6) -> list[bool]:
    clock = Clock()
    switch = Hysteresis(above=7, below=3, on_s=on_s, off_s=off_s, clock=clock)
    states = []
    for time, value in zip(accumulate(step for step, _ in steps), (value for _, value in steps), strict=True):
        clock.now = time
        states.append(switch.observe(value))
    return states


@given(STEPS)
def test_it_turns_only_after_a_whole_stretch_on_the_other_side(steps: list[tuple[int, int]]) -> None:
    times = list(accumulate(step for step, _ in steps))
    values, states = [value for _, value in steps], told(steps)
    before = False
    since = 0  # of the first value since it turned last
    for place, state in enumerate(states):
        crossed = [value < 3 if before else value > 7 for value in values[since : place + 1]]
        begun = place + 1 - [*crossed[::-1], False].index(False)  # of the run that ends here
        lasted = times[place] - times[begun] if begun <= place else -1
        assert state == (before != (lasted >= (6 if before else 4)))
        if state != before:
            since, before = place + 1, state


@given(STEPS)
def test_between_the_lines_nothing_turns(steps: list[tuple[int, int]]) -> None:
    assert not any(told([(step, 3 + value % 5) for step, value in steps]))


def test_without_a_hold_it_turns_at_once() -> None:
    assert told([(0, 8), (0, 2), (0, 5), (0, 9)], on_s=0, off_s=0) == [True, False, False, True]


def test_a_reset_forgets_what_was_seen() -> None:
    clock = Clock()
    switch = Hysteresis(above=7, below=3, on_s=4, off_s=4, clock=clock)
    switch.observe(9)
    switch.reset()
    clock.now = 4
    assert not switch.observe(9)
    clock.now = 8
    assert switch.observe(9)
