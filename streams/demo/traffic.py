"""What the replay sends: every flight's event, and among them a known number of events that cannot be scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.streams.demo.flights import Flights, Times

BAD = -1
"""Row of a bad event, where a good one has its position among the flights."""

_EVERY = 10_000
"""One bad event of each kind for so many good ones, at least one of each kind."""


@dataclass(frozen=True)
class Traffic:
    """Records in the order in which they are sent, [records].

    times   Unix ms of event time; a bad event has that of the good one that it follows
    rows    position among the flights, or BAD
    keys    record keys
    values  record values; None is a tombstone
    """

    times: Times
    rows: NDArray[np.int64]
    keys: list[bytes]
    values: list[bytes | None]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def bad(self) -> int:
        return int((self.rows == BAD).sum())


def traffic(flights: Flights) -> Traffic:
    """The flights' events with bad ones spread evenly among them."""
    keys, values = flights.keys(), list[bytes | None](flights.events())
    kinds = len(spoilt(b"{}"))
    number = kinds * -(-len(flights) // _EVERY)
    after = np.linspace(0, len(flights) - 1, number).astype(np.int64)
    bad = [spoilt(values[row] or b"")[i % kinds] for i, row in enumerate(after.tolist())]
    order = np.argsort(np.concatenate([np.arange(len(flights)), after + 0.5]), kind="stable")
    rows = np.concatenate([np.arange(len(flights)), np.full(number, BAD)])[order]
    all_keys, all_values = keys + [keys[row] for row in after.tolist()], values + bad
    return Traffic(
        times=np.concatenate([flights.time, flights.time[after]])[order],
        rows=rows,
        keys=[all_keys[place] for place in order.tolist()],
        values=[all_values[place] for place in order.tolist()],
    )


def spoilt(event: bytes) -> list[bytes | None]:
    """One bad event of each kind, made from a good one."""
    return [
        event[:-1],  # cut off: not JSON
        event + event,  # two documents in one record
        event.replace(b'"distance":', b'"distance":"far","miles":'),  # wrong type
        event.replace(b'"minutes":', b'"min":'),  # missing field
        event.replace(b'"distance":', b'"distance":1e999,"miles":'),  # beyond any float
        b"[" * 200_000,  # nested too deeply
        b"",  # empty
        None,  # tombstone
    ]
