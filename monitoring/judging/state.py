"""What a judge remembers between two summaries: plain data and its detectors' snapshots, so that it is exact."""

from __future__ import annotations

import msgspec

from penstock.monitoring.judging.bucket_tests import BucketState
from penstock.monitoring.judging.histogram_families import FamilyState
from penstock.monitoring.judging.operations import Operations
from penstock.monitoring.judging.pace import Pace
from penstock.monitoring.judging.references import Followed
from penstock.monitoring.judging.volume import Volume
from penstock.monitoring.judging.watched_numbers import WatchedState
from penstock.schemas.errors import PenstockError

VERSION = 1


class UnreadableJudge(PenstockError):
    """The bytes are no snapshot of a judge, or one of another version.

    >>> print(UnreadableJudge("version 2, not 1"))
    The snapshot of the judge cannot be restored: version 2, not 1. Start the judge without it, or use the Penstock \
that wrote it.
    """

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(
            f"The snapshot of the judge cannot be restored: {cause}. "
            "Start the judge without it, or use the Penstock that wrote it."
        )


class JudgeState(msgspec.Struct):
    """`applied` is the highest segment and part per kind and partition."""

    version: int
    applied: list[tuple[str, int, int, int]]
    followed: Followed
    pace: Pace
    budgeted: float
    sized: int
    families: list[FamilyState]
    numbers: list[WatchedState]
    volume: Volume
    rows: int
    buckets: BucketState
    operations: Operations
    book: bytes

    @classmethod
    def decode(cls, data: bytes) -> JudgeState:
        """Raises UnreadableJudge for another version, msgspec.DecodeError for what is no state."""
        version = msgspec.msgpack.decode(data, type=_Version).version
        if version != VERSION:
            raise UnreadableJudge(f"version {version}, not {VERSION}")
        return msgspec.msgpack.decode(data, type=cls)


class _Version(msgspec.Struct):
    version: int
