"""What the judge reads: records of the summaries topic, told apart by their schema and put into order for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from penstock.monitoring.judging.event_order import EventTimeOrder, OrderState
from penstock.monitoring.judging.judge import Judge, UnreadableJudge
from penstock.schemas.alerts import Alert, decode_acknowledgement
from penstock.schemas.operations import decode_reading
from penstock.schemas.quality import QualitySummary, decode_quality
from penstock.schemas.records import SCHEMA_HEADER
from penstock.schemas.summaries import Summary, decode_summary

Kind = Literal["summary", "quality", "comparison", "operations", "acknowledgement", "unknown"]


class _Snapshot(msgspec.Struct):
    judge: bytes
    taken: int
    """The last offset."""
    summaries: OrderState
    qualities: OrderState


class JudgeInputs:
    """Reads for one judge. Summaries wait for those of other partitions (`EventTimeOrder`); all else is taken at once.

    After a restart, records from `resume` on come again: what was taken then is not taken twice.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._taken = -1
        self._summaries = EventTimeOrder[Summary]()
        self._qualities = EventTimeOrder[QualitySummary]()

    @staticmethod
    def kind_of(headers: Sequence[tuple[str, bytes]]) -> Kind:
        """By the schema that the record names."""
        match dict(headers).get(SCHEMA_HEADER, b"").partition(b"/")[0]:
            case b"summary":
                return "summary"
            case b"quality":
                return "quality"
            case b"comparison":
                return "comparison"
            case b"operations":
                return "operations"
            case b"acknowledgement":
                return "acknowledgement"
        return "unknown"

    def take(
        self,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        *,
        offset: int,
        written: int,
        place: str = "the summaries",
    ) -> list[Alert]:
        """One record, in the order of the topic; what is to be told then. `written` is its timestamp, Unix ms.

        Raises the PenstockError of a record that cannot be read; it changes nothing.
        """
        again, self._taken = offset <= self._taken, max(offset, self._taken)
        match self.kind_of(headers):
            case "summary":
                summary = decode_summary(value, headers, place=place)
                summaries = self._summaries.put(
                    summary, partition=summary.partition, time=summary.event_times[1], written=written, position=offset
                )
                return self._tell(summaries, self._qualities.pass_time(written))
            case "quality":
                quality = decode_quality(value, headers, place=place)
                qualities = self._qualities.put(
                    quality, partition=quality.partition, time=quality.event_times[1], written=written, position=offset
                )
                return self._tell(self._summaries.pass_time(written), qualities)
            case _ if again:
                return []
            case "comparison":  # of no signal: what follows from it is for gates
                return self._pass_time(written)
            case "operations":
                reading = decode_reading(value, headers, place=place)
                return [*self._pass_time(written), *self._judge.operations(reading)]
            case _:  # refuses what is not an acknowledgement either
                acknowledgement = decode_acknowledgement(value, headers, place)
                return [*self._pass_time(written), *self._judge.acknowledge(acknowledgement)]

    def _pass_time(self, written: int) -> list[Alert]:
        return self._tell(self._summaries.pass_time(written), self._qualities.pass_time(written))

    def _tell(self, summaries: Sequence[Summary], qualities: Sequence[QualitySummary]) -> list[Alert]:
        alerts = [alert for summary in summaries for alert in self._judge.apply(summary)]
        return alerts + [alert for quality in qualities for alert in self._judge.apply_quality(quality)]

    def resume(self, following: int) -> int:
        """The offset to go on from after a restart, when `following` would be read next now."""
        return min(following, *(order.resume or following for order in (self._summaries, self._qualities)))

    def snapshot(self) -> bytes:
        """With the records from `resume` on, everything that is known."""
        return msgspec.msgpack.encode(
            _Snapshot(self._judge.snapshot(), self._taken, self._summaries.state, self._qualities.state)
        )

    def restore(self, snapshot: bytes) -> None:
        """Raises UnreadableJudge, UnreadableBook."""
        try:
            known = msgspec.msgpack.decode(snapshot, type=_Snapshot)
        except msgspec.DecodeError as error:
            raise UnreadableJudge(str(error).rstrip(".")) from error
        self._judge.restore(known.judge)
        self._taken = known.taken
        self._summaries = EventTimeOrder(state=known.summaries)
        self._qualities = EventTimeOrder(state=known.qualities)
