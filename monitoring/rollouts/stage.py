"""A stage of a rollout in event time: when it began, and when it may be left."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock.schemas.control import Rollout
from penstock.schemas.summaries import NO_WATERMARK

_BUCKETS = 400
"""Nothing older is remembered."""


class Stage(msgspec.Struct):
    """One stage of a rollout, or its baking.

    The control record's own time is a wall clock's; the stage begins in event time with the first rows that were served
    under its revision, which the summaries name. Between those and the last rows of before, a bucket holds both shares.

    rollout   as the control record has it, and
    revision  the first revision that had this stage
    since     event time of the newest row of before, Unix ms; NO_WATERMARK: none was seen
    first     of the oldest row of its own; None: none yet
    looked    everything up to then had matured at the last look, Unix ms
    """

    rollout: Rollout
    revision: int
    since: int = NO_WATERMARK
    first: int | None = None
    looked: int = NO_WATERMARK

    def is_of(self, rollout: Rollout) -> bool:
        """Whether the control record still shows this stage.

        >>> from penstock.schemas.records import ModelRef
        >>> rollout = Rollout("r", ModelRef("m", 2), ModelRef("m", 1), (0.1, 1.0))
        >>> Stage(rollout, 7).is_of(msgspec.structs.replace(rollout, stage=1))
        False
        """
        mine = self.rollout
        return (mine.id, mine.stage, mine.baking) == (rollout.id, rollout.stage, rollout.baking)

    def saw(self, served: Mapping[tuple[str, str, int], int], event_times: tuple[int, int]) -> None:
        """Rows that were served, by variant, model and revision, and the times of their oldest and newest event."""
        revisions = [revision for _, _, revision in served]
        if not revisions:
            return
        if min(revisions) < self.revision:
            self.since = max(self.since, event_times[1])
        if max(revisions) >= self.revision:
            self.first = event_times[0] if self.first is None else min(self.first, event_times[0])

    def mixed(self, bucket_ms: int) -> list[int]:
        """Starts of the buckets that hold rows of this stage and of before."""
        if self.first is None or self.since == NO_WATERMARK:
            return []
        start, stop = self.first // bucket_ms, self.since // bucket_ms
        return [bucket * bucket_ms for bucket in range(max(start, stop - _BUCKETS), stop + 1)]

    def began(self) -> int | None:
        """Event time from which all rows are its own, Unix ms; None: nobody knows yet."""
        return self.since if self.since > NO_WATERMARK else self.first

    def lasted_ms(self, matured: int) -> int:
        """For how long, as far as everything has matured."""
        began = self.began()
        return 0 if began is None else max(0, matured - began)

    def has_matured(self, matured: int, bucket_ms: int) -> bool:
        """Whether a whole bucket of its own is among what has matured."""
        began = self.began()
        return began is not None and -(-began // bucket_ms) * bucket_ms + bucket_ms <= matured
