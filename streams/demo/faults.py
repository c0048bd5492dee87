"""What the demo breaks on purpose, so that one sees what watching is for: nothing fails, the answers only get worse."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from penstock.schemas.alerts import Cause
from penstock.streams.demo.flights import Flights, Times
from penstock.streams.demo.lookups import FeatureTable, Lookups


@dataclass(frozen=True)
class Fault:
    """`start` and `end` are event time, Unix ms; the end is not inside. `features` are those that it spoils."""

    name: str
    what: str
    start: int
    end: int
    features: frozenset[str]

    def affects(self, times: Times) -> NDArray[np.bool_]:
        return (times >= self.start) & (times < self.end)

    def is_behind(self, cause: Cause) -> bool:
        """Whether a cause is about a feature that it spoils: its values, its range, its age."""
        return cause.signal.partition(":")[2] in self.features


# Both begin and end at midnight in New York.

UNIT_CHANGE = Fault(
    "unit change",
    "a release sends schedule.hour in minutes: 14 comes as 840",
    1_367_812_800_000,  # 6 May 2013, 04:00 UTC
    1_368_504_000_000,  # 14 May
    frozenset({"hour"}),
)
MISSING_FEATURES = Fault(
    "missing features",
    "the job that writes the last arrivals' delays to Redis stands still",
    1_381_118_400_000,  # 7 October 2013, 04:00 UTC
    1_381_723_200_000,  # 14 October
    frozenset({"origin_delay", "origin_late", "carrier_delay", "carrier_late"}),
)
FAULTS = (UNIT_CHANGE, MISSING_FEATURES)


def with_unit_change(flights: Flights) -> Flights:
    """The flights as the faulty release publishes them."""
    return replace(flights, hour=np.where(UNIT_CHANGE.affects(flights.time), 60 * flights.hour, flights.hour))


def without_trailing_delays(lookups: Lookups) -> Lookups:
    """The look-ups without what the job did not write. Their keys hold the hour, so nothing old is found either."""

    def written(table: FeatureTable) -> FeatureTable:
        return table.take(np.flatnonzero(~MISSING_FEATURES.affects(table.written)))

    return replace(
        lookups,
        origin_delays=written(lookups.origin_delays),
        carrier_delays=written(lookups.carrier_delays),
    )
