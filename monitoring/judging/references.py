"""Which model's profile the stream is judged against, while partitions change over from one to the next."""

from __future__ import annotations

import msgspec

from penstock.schemas.quality import QualitySummary
from penstock.schemas.summaries import Summary


class Followed(msgspec.Struct):
    """The reference that counts. Partitions change over one after the other; those behind are stragglers for a while.

    A partition whose own reference changes takes the stream along, unless its routing revision is older than the one
    that brought the present reference: then it only catches up. A partition that is new shows no change.

    >>> followed = Followed()
    >>> [followed.admit(0, "m@1", 1), followed.admit(1, "m@1", 1), followed.admit(0, "m@2", 2)], followed.reference
    ([True, True, True], 'm@2')
    >>> [followed.admit(1, "m@1", 1), followed.admit(1, "m@2", 2), followed.admit(0, "m@1", 3)], followed.reference
    ([False, True, True], 'm@1')
    """

    reference: str | None = None
    revision: int = -1
    partitions: dict[int, str] = {}

    def admit(self, partition: int, reference: str, revision: int) -> bool:
        """Whether rows counted against `reference` are to be judged now; changes over where they show it."""
        before = self.partitions.get(partition)
        self.partitions[partition] = reference
        changed = revision > self.revision if before is None else reference != before and revision >= self.revision
        if reference != self.reference and (self.reference is None or changed):
            self.reference, self.revision = reference, revision
        return reference == self.reference


def revision_of(summary: Summary | QualitySummary) -> int:
    """The newest routing revision that served its rows; -1 without rows."""
    return max((revision for _, _, revision in summary.served), default=-1)
