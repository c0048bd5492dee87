"""What the judge reads: records of the summaries topic, told apart by their schema and put into order for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from penstock.monitoring.judging.event_order import EventTimeOrder, OrderState
from penstock.monitoring.judging.judge import Judge, UnreadableJudge
from penstock.monitoring.rollouts.judge import RolloutJudge
from penstock.schemas.alerts import Alert, decode_acknowledgement
from penstock.schemas.comparison_wire import decode_comparison
from penstock.schemas.control import Control
from penstock.schemas.gates import Look
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
    rollouts: bytes = b""


class JudgeInputs:
    """Reads for one judge, and for the judge of rollouts. Summaries wait for those of other partitions before they are
    judged (`EventTimeOrder`); all else is taken at once: rollouts are judged by watermarks.

    After a restart, records from `resume` on come again: what was taken then is not taken twice.

    `looks` are those that nobody has fetched yet.
    """

    def __init__(self, judge: Judge, rollouts: RolloutJudge) -> None:
        self._judge, self.rollouts = judge, rollouts
        self.looks: list[Look] = []
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
                told = self._tell(self._summaries.pass_time(written), qualities)
                return told if again else told + self._looked(self.rollouts.quality(quality, written=written), written)
            case _ if again:
                return []
            case "comparison":  # of no signal: what follows from it is for gates
                comparison = decode_comparison(value, headers, place=place)
                told = self._pass_time(written)
                return told + self._looked(self.rollouts.comparison(comparison, written=written), written)
            case "operations":
                # By the brokers' clock, as all is: one worker's that is a day ahead would make all others silent.
                reading = msgspec.structs.replace(decode_reading(value, headers, place=place), time=written)
                told = [*self._pass_time(written), *self._judge.operations(reading)]
                return told + self._looked(self.rollouts.operations(reading, written=written), written)
            case _:  # refuses what is not an acknowledgement either
                acknowledgement = decode_acknowledgement(value, headers, place)
                return [*self._pass_time(written), *self._judge.acknowledge(acknowledgement)]

    def follow(self, control: Control) -> None:
        """The routing state from now on."""
        self.rollouts.follow(control)
        rollout, reason = control.rollout, None
        if rollout is not None and rollout.share > 0 and not rollout.baking:
            reason = f"canary of {rollout.candidate}, {100 * rollout.share:g} %"
        self._judge.rollout_moves(reason)

    def _looked(self, looks: Sequence[Look], written: int) -> list[Alert]:
        self.looks += looks
        rollout = self.rollouts.rollout
        automatic = rollout is not None and rollout.mode == "automatic"
        return [alert for look in looks for alert in self._judge.verdict(look, time=written, automatic=automatic)]

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
            _Snapshot(
                self._judge.snapshot(),
                self._taken,
                self._summaries.state,
                self._qualities.state,
                self.rollouts.snapshot(),
            )
        )

    def restore(self, snapshot: bytes) -> None:
        """Raises UnreadableJudge, UnreadableBook, UnreadableRollouts."""
        try:
            known = msgspec.msgpack.decode(snapshot, type=_Snapshot)
        except msgspec.DecodeError as error:
            raise UnreadableJudge(str(error).rstrip(".")) from error
        self._judge.restore(known.judge)
        if known.rollouts:
            self.rollouts.restore(known.rollouts)
        self._taken = known.taken
        self._summaries = EventTimeOrder(state=known.summaries)
        self._qualities = EventTimeOrder(state=known.qualities)
