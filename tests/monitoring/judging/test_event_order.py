"""Parts of several partitions in the order of event time: complete, bounded, the same after a restart."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.judging.event_order import EventTimeOrder, OrderState

Part = tuple[int, int, int]
"""Partition, event time, when it was written."""


@st.composite
def topics(draw: st.DrawFn) -> list[Part]:
    """Parts in the order of a topic: what each partition has is in order, and time of writing does not go back."""
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    turns = draw(st.permutations([partition for partition, size in enumerate(sizes) for _ in range(size)]))
    clock, times, parts = 0, [0] * len(sizes), list[Part]()
    for partition in turns:
        clock += draw(st.sampled_from([0, 1, 40, 400]))
        times[partition] += draw(st.integers(-5, 30))
        parts.append((partition, times[partition], clock))
    return parts


def run(order: EventTimeOrder[int], parts: list[Part], first: int = 0) -> list[int]:
    released = []
    for position, (partition, time, written) in enumerate(parts[first:], first):
        released += order.put(position, partition=partition, time=time, written=written, position=position)
    return released


@given(topics(), st.integers(1, 8))
def test_each_part_goes_once_and_those_of_a_partition_in_order(parts: list[Part], limit: int) -> None:
    order = EventTimeOrder[int](hold_ms=100, limit=limit)
    released = run(order, parts)
    assert len(parts) - len(released) <= limit
    released += order.pass_time(parts[-1][2] + 100)
    assert sorted(released) == list(range(len(parts)))
    for partition in {part[0] for part in parts}:
        mine = [position for position in released if parts[position][0] == partition]
        assert mine == sorted(mine)


@given(topics(), st.data())
def test_a_restart_goes_on_where_it_stopped(parts: list[Part], data: st.DataObject) -> None:
    expected = run(EventTimeOrder[int](hold_ms=100), parts)
    stop = data.draw(st.integers(0, len(parts)))
    first = EventTimeOrder[int](hold_ms=100)
    released = run(first, parts[:stop])
    resume = stop if first.resume is None else first.resume
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(first.state), type=OrderState)
    assert released + run(EventTimeOrder[int](hold_ms=100, state=state), parts, resume) == expected


def test_partitions_that_are_read_one_after_the_other_are_merged() -> None:
    order = EventTimeOrder[int]()
    run(order, [(0, 0, 0), (1, 0, 0)])
    month_by_month = [(0, day, 1) for day in range(30)] + [(1, day, 2) for day in range(30)]
    parts = [(0, 0, 0), (1, 0, 0), *month_by_month]
    released = [parts[position] for position in run(order, parts, 2)]
    assert [time for _, time, _ in released] == sorted(time for _, time, _ in released)
    assert len(released) >= 58


def test_a_partition_that_went_silent_is_not_waited_for() -> None:
    order = EventTimeOrder[int](hold_ms=100)
    run(order, [(0, 0, 0), (1, 0, 0), (0, 1, 1), (1, 1, 1)])
    assert order.put(7, partition=0, time=2, written=50, position=7) == [3]
    assert order.put(8, partition=0, time=3, written=101, position=8) == [7, 8]
