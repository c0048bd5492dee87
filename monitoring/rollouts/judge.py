"""The judge of rollouts: from comparisons, outcomes and readings to looks. Pure and deterministic.

What it concludes depends on the summaries in the order of their topic and on the control record that it follows. State
is restored exactly: a judge that was killed comes to the same looks as one that was not.

A look is taken when a time bucket has matured over all partitions; and at once, when the fast test or a guardrail shows
that the candidate must go. It concludes:

1. roll back, where a test shows the candidate to be worse or a guardrail failed for it;
2. hold, as long as too little is known, the stage has not lasted, or outcomes come to the two models unlike;
3. promote otherwise: to the next stage, after the last one to champion, and after the bake to stay.

The tests run over the whole rollout, not stage by stage: that is what their errors are promised for. A stage begins
with what is known already, and ends when a whole bucket of its own has matured without anything against it.
"""

from __future__ import annotations

import zlib

import msgspec

from penstock.monitoring.config import LabelsConfig, RolloutConfig
from penstock.monitoring.gates.plan import conclude
from penstock.monitoring.rollouts.clock import MaturityClock
from penstock.monitoring.rollouts.guardrails import Guards
from penstock.monitoring.rollouts.ledger import Ledger, LedgerState
from penstock.monitoring.rollouts.stage import Stage
from penstock.schemas.comparison import ComparisonSummary
from penstock.schemas.control import Control, Rollout
from penstock.schemas.errors import PenstockError
from penstock.schemas.gates import Evidence, Guardrail, Look, Verdict
from penstock.schemas.operations import OperationalReading
from penstock.schemas.quality import QualitySummary
from penstock.schemas.summaries import NO_WATERMARK

VERSION = 1
BUCKETS = 400
"""Time buckets that are remembered."""

_GUARDS_SHARE = 1 / 20
"""Of alpha, for the guardrails of a rollout together."""
_SHARES_JUDGED = 2


class UnreadableRollouts(PenstockError):
    """The bytes are no snapshot of a judge of rollouts, or one of another version.

    >>> print(UnreadableRollouts("version 2, not 1"))
    The snapshot of the rollouts cannot be restored: version 2, not 1. Start the judge without it, or use the Penstock \
that wrote it.
    """

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(
            f"The snapshot of the rollouts cannot be restored: {cause}. "
            "Start the judge without it, or use the Penstock that wrote it."
        )


class _State(msgspec.Struct):
    version: int
    revision: int
    applied: dict[tuple[str, int], tuple[int, int]]
    clock: MaturityClock
    stage: Stage | None
    guards: Guards
    ledger: LedgerState
    pending: Look | None


class RolloutJudge:
    """Judges the rollout that the control record shows, if any.

    Args:
        config: margins, error, guardrails and durations; stages and mode are the rollout's own.
        labels: how long a time bucket is.
        idle_s: a partition that was silent for so long, by the times of writing, is not waited for.
        sensitive: features whose values must not reach a person: their slices are named without.
    """

    def __init__(
        self,
        config: RolloutConfig,
        labels: LabelsConfig,
        *,
        idle_s: float = 180.0,
        sensitive: frozenset[str] = frozenset(),
    ) -> None:
        self._config, self._labels = config, labels
        self._bucket_ms, self._idle_ms = max(1, round(labels.bucket_s * 1000)), round(idle_s * 1000)
        self._sensitive = sensitive
        self._revision = -1
        self._applied: dict[tuple[str, int], tuple[int, int]] = {}
        self._clock = MaturityClock()
        self._stage: Stage | None = None
        self._guards = Guards()
        self._ledger = self._empty_ledger()
        self._pending: Look | None = None
        self._forgotten = NO_WATERMARK

    @property
    def pending(self) -> Look | None:
        """A verdict that asks for a change that the control record does not show yet."""
        return self._pending

    @property
    def rollout(self) -> Rollout | None:
        """The one that is judged, as the control record has it."""
        return None if self._stage is None else self._stage.rollout

    def follow(self, control: Control) -> None:
        """The routing state from now on; the one that was followed last changes nothing."""
        if control.revision == self._revision:
            return
        self._revision = control.revision
        rollout, before = control.rollout, self._stage
        self._ledger.name(control)
        if rollout is None:
            self._stage = self._pending = None
        elif before is None or not before.is_of(rollout):
            self._stage = Stage(rollout, control.revision, looked=self._matured())
            self._guards, self._pending = Guards(), None
        else:
            before.rollout = rollout

    def comparison(self, summary: ComparisonSummary, *, written: int = 0) -> list[Look]:
        """Paired rows of one segment or of a part, at once or at maturity; `written` is the record's time, Unix ms."""
        kind = "labelled" if summary.mature else "paired"
        if not self._is_new(kind, summary.partition, summary.segment, summary.part):
            return []
        if not summary.mature:
            self._clock.pass_time(written)
            return self._count_paired(summary)
        self._clock.hear("paired", partition=summary.partition, watermark=summary.watermark, written=written)
        self._ledger.add_paired(summary)
        return self._look()

    def quality(self, summary: QualitySummary, *, written: int = 0) -> list[Look]:
        """Rows of one segment, or of a part, with what came true of them."""
        if not self._is_new("quality", summary.partition, summary.segment, summary.part):
            return []
        self._clock.hear("canary", partition=summary.partition, watermark=summary.watermark, written=written)
        if (stage := self._stage) is not None:
            stage.saw(summary.served, summary.event_times)
            self._ledger.add_served(summary, stage.rollout)
            self._ledger.exclude(stage.mixed(self._bucket_ms))
        return self._look()

    def operations(self, reading: OperationalReading, *, written: int = 0) -> list[Look]:
        """What a worker says of its models; and time passes."""
        self._clock.pass_time(written)
        if (stage := self._stage) is None:
            return []
        for variant in reading.variants.values():
            if variant.model == str(stage.rollout.candidate):
                self._guards.candidate.add(variant)
            elif variant.model == str(stage.rollout.champion):
                self._guards.champion.add(variant)
        return self._look()

    def snapshot(self) -> bytes:
        """Everything it knows, for `restore`."""
        state = _State(
            VERSION, self._revision, self._applied, self._clock, self._stage, self._guards, self._ledger.state(),
            self._pending,
        )  # fmt: skip
        return zlib.compress(msgspec.msgpack.encode(state), 1)

    def restore(self, snapshot: bytes) -> None:
        """Go on from where a judge of the same settings stopped. Raises UnreadableRollouts."""
        try:
            data = zlib.decompress(snapshot)
            version = msgspec.msgpack.decode(data, type=_Versioned).version
            if version != VERSION:
                raise UnreadableRollouts(f"version {version}, not {VERSION}")
            state = msgspec.msgpack.decode(data, type=_State)
            ledger = Ledger.restored(state.ledger, self._config, self._labels, sensitive=self._sensitive)
        except (msgspec.DecodeError, ValueError, zlib.error) as error:
            raise UnreadableRollouts(str(error).rstrip(".")) from error
        self._revision, self._applied, self._clock = state.revision, state.applied, state.clock
        self._stage, self._guards, self._ledger, self._pending = state.stage, state.guards, ledger, state.pending

    # What is counted.

    def _is_new(self, kind: str, partition: int, segment: int, part: int) -> bool:
        if (segment, part) <= self._applied.get((kind, partition), (-1, -1)):
            return False
        self._applied[kind, partition] = segment, part
        return True

    def _count_paired(self, summary: ComparisonSummary) -> list[Look]:
        if self._stage is None:
            return []
        rollout = self._stage.rollout
        for (_, candidate, served, name), sums in summary.pairs.items():
            if not name and (candidate, served) == (str(rollout.candidate), str(rollout.champion)):
                self._guards.candidate.add_paired(sums.rows, sums.non_finite)
        return self._look()

    def _matured(self) -> int:
        return self._clock.matured(bucket_ms=self._bucket_ms, idle_ms=self._idle_ms)

    def _empty_ledger(self) -> Ledger:
        return Ledger(self._config, self._labels, sensitive=self._sensitive)

    # Looks.

    def _look(self) -> list[Look]:
        """One at most: of everything where a bucket has matured, else of what may end the rollout at once."""
        matured, stage = self._matured(), self._stage
        if matured > self._forgotten:
            self._forgotten = matured
            self._ledger.forget(matured, BUCKETS)
        if stage is None:
            return []
        if stage.looked == NO_WATERMARK:
            stage.looked = matured  # from here on: nothing has matured while this judge followed
        whole = matured > stage.looked
        if whole:
            stage.looked = matured
        if self._pending is not None and self._pending.verdict == "rollback" and not (whole and self._by_hand):
            return []
        evidence = self._ledger.look(stage.rollout, matured) if whole else self._ledger.look_fast(stage.rollout)
        guardrails = self._guards.judge(self._config, self._ledger.outcomes, alpha=self._guards_alpha(stage.rollout))
        verdict, reason = self._conclude(stage, evidence, guardrails, matured)
        if not whole and verdict != "rollback":
            return []
        if self._pending is not None and not self._by_hand and verdict != "rollback":
            return []  # the judge is about to take the step that it decided on
        look = Look(
            stage.rollout.id, stage.rollout.candidate, stage.rollout.champion, stage.rollout.stage,
            stage.rollout.share, matured, verdict, reason, tuple(evidence), guardrails, stage.rollout.baking,
        )  # fmt: skip
        self._pending = look if verdict != "hold" else None
        return [look]

    def _conclude(
        self, stage: Stage, evidence: list[Evidence], guardrails: tuple[Guardrail, ...], matured: int
    ) -> tuple[Verdict, str]:
        waiting = self._waiting(stage, matured)
        verdict, reason = conclude(evidence, guardrails, waiting=waiting)
        rollout = stage.rollout
        if verdict == "rollback" or not rollout.baking:
            return verdict, reason
        if waiting:
            return "hold", f"{rollout.candidate} has been promoted: {waiting}."
        return "promote", f"{rollout.candidate} has baked for {_duration(self._config.bake_s)}: it stays."

    def _waiting(self, stage: Stage, matured: int) -> str:
        """What the stage waits for beside evidence, in words."""
        lasts_s = self._config.bake_s if stage.rollout.baking else self._config.stage_s
        if stage.lasted_ms(matured) < 1000 * lasts_s:
            what = "it bakes for" if stage.rollout.baking else "the stage lasts"
            return f"{what} {_duration(lasts_s)}, {_duration(stage.lasted_ms(matured) / 1000)} so far"
        if not stage.has_matured(matured, self._bucket_ms):
            return "no whole time bucket of its stage has matured yet"
        return ""

    @property
    def _by_hand(self) -> bool:
        return self._stage is not None and self._stage.rollout.mode != "automatic"

    def _guards_alpha(self, rollout: Rollout) -> float:
        """Of one share's test during one stage, the bake among them."""
        return self._config.alpha * _GUARDS_SHARE / (_SHARES_JUDGED * (len(rollout.stages) + 1))


def _duration(seconds: float) -> str:
    """For people.

    >>> _duration(7 * 86400), _duration(5400), _duration(3600), _duration(0)
    ('7 days', '1.5 hours', '1 hour', '0 s')
    """
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}" + ("" if seconds == length else "s")
    return f"{seconds:.3g} s"


class _Versioned(msgspec.Struct):
    version: int
