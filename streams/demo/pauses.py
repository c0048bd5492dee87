"""Where the replay waits for the judge: months pass in seconds, and a verdict must not come when they are over.

A pause is in the night, when few fly. What was sent until then is judged a day later, when its labels count, and so the
next day is sent, too, before the replay waits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.streams.demo.flights import HOUR_MS

DAY_MS = 24 * HOUR_MS
NIGHT_MS = 6 * HOUR_MS
"""The hour in UTC, one or two in New York: the flights of the evening have begun a new day, and everything of the day
before has been seen."""

TRIAL_DAYS = 3
BAKING_DAYS = 7
FEWEST_RECORDS = 500
"""From pause to pause: where little comes, there is little to judge."""


class Pause(NamedTuple):
    """The records before `cut` are to be judged before the record at `resume` is sent."""

    cut: int
    resume: int


class Pauses:
    """Of a replay of records at `times`, Unix ms, ascending.

    first_days, first_records  of a rollout, without which there is no verdict
    """

    def __init__(self, times: NDArray[np.int64], *, first_days: int, first_records: int) -> None:
        self._times, self._first_days, self._first_records = times, first_days, first_records

    def after(self, at: int, began: int, *, baking: bool) -> Pause | None:
        """The next one of a replay that stands at record `at`, in a rollout that began at record `began`.

        None: there is none before the end.

        >>> times = np.arange(0, 60 * DAY_MS, HOUR_MS)
        >>> pauses = Pauses(times, first_days=14, first_records=100)
        >>> pauses.after(0, 0, baking=False)
        Pause(cut=510, resume=534)
        >>> pauses.after(534, 0, baking=False)
        Pause(cut=1038, resume=1062)
        >>> pauses.after(1300, 0, baking=False) is None
        True
        """
        times, days = self._times, BAKING_DAYS if baking else TRIAL_DAYS
        record = max(at + FEWEST_RECORDS, began + self._first_records)
        if record >= len(times):
            return None
        time = max(
            int(times[at]) + days * DAY_MS, int(times[began]) + self._first_days * DAY_MS, int(times[record - 1])
        )
        night = -(-(time - NIGHT_MS) // DAY_MS) * DAY_MS + NIGHT_MS
        cut, resume = np.searchsorted(times, (night, night + DAY_MS)).tolist()
        return Pause(cut, resume) if resume < len(times) else None
