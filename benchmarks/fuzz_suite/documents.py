"""Readers of one record: summaries, readings, alerts, control records, decisions, dead letters, stores of labels."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from fuzz_suite.inputs import Case, Message, Mutator, Records, Wrong
from fuzz_suite.mutators import in_bytes, in_json, in_msgpack

from penstock.schemas import label_runs
from penstock.schemas.alerts import (
    Acknowledgement,
    Alert,
    Cause,
    UnreadableAlert,
    Whereabouts,
    decode_acknowledgement,
    decode_alert,
    encode_acknowledgement,
    encode_alert,
)
from penstock.schemas.comparison import (
    DIFFERENCE_EDGES,
    RANKS,
    CellSums,
    ComparisonSummary,
    LabelledPair,
    PairSums,
    merge_comparison,
)
from penstock.schemas.comparison_wire import CorruptComparison, decode_comparison, encode_comparison
from penstock.schemas.control import Control, Decision, Experiment, Rollout, Rule, Shadow, Staging
from penstock.schemas.dead_letters import DeadLetter, NotADeadLetter, ValueSealed
from penstock.schemas.evidence import Evidence
from penstock.schemas.gates import KEY_GROUPS, Guardrail, Look
from penstock.schemas.gates import Evidence as GateEvidence
from penstock.schemas.operations import (
    CorruptReading,
    OperationalReading,
    VariantReading,
    decode_reading,
    encode_reading,
)
from penstock.schemas.profile import SLOTS
from penstock.schemas.quality import CorruptQuality, QualitySummary, decode_quality, encode_quality, merge_quality
from penstock.schemas.quality_sums import SCORE_BINS, QualitySums
from penstock.schemas.records import CONTROL_SCHEMA, DECISION_SCHEMA, ModelRef
from penstock.schemas.sealing import SecretKey
from penstock.schemas.signing import PrivateKey, TrustedKeys
from penstock.schemas.summaries import (
    CorruptSummary,
    SignalCounts,
    Summary,
    decode_summary,
    encode_summary,
    merge,
)
from penstock.streams.control.records import UnreadableControl, read_control_record
from penstock.streams.control.signatures import signature_headers
from penstock.streams.control.trail import UnreadableDecision, concerns, decision_of

_NOW = 1_357_034_400_000
_PIPELINE = "flights"
_SIGNER = PrivateKey(bytes(32))
_TRUSTED = TrustedKeys((_SIGNER.public("release"),))
_SECRET = SecretKey(bytes(32))
_RUN_HEAD = 28
"""Bytes in front of a run's labels; the last four say how many there are."""


def targets() -> list[Records]:
    """One of each."""

    def read(decode: Callable[..., Any], encode: Callable[[Any], Any], merge: Callable[[Any, Any], Any]) -> Any:
        def consume(message: Message) -> None:
            found = decode(message.value, message.headers)
            encode(found)
            merge(found, found)

        return consume

    def alone(a: Any, b: Any) -> Any:
        return a

    summaries = [Message(*encode_summary(each)) for each in _summaries()]  # type: ignore[arg-type]
    qualities = [Message(*encode_quality(each)) for each in _qualities()]  # type: ignore[arg-type]
    comparisons = [Message(*encode_comparison(each)) for each in _comparisons()]  # type: ignore[arg-type]
    readings = [Message(*encode_reading(each)) for each in _readings()]  # type: ignore[arg-type]
    runs = [Message(record) for record in label_runs.encode_run(_run(), 3)]
    manifest = [Message(label_runs.encode_manifest(label_runs.Manifest([(0, 1), (1, 2)], 2, 7, 1, 2)))]
    return [
        Records("summaries", 0.06, summaries, in_msgpack, read(decode_summary, encode_summary, merge), CorruptSummary),
        Records(
            "quality", 0.06, qualities, in_msgpack, read(decode_quality, encode_quality, merge_quality), CorruptQuality
        ),
        Records(
            "comparisons", 0.06, comparisons, in_msgpack,
            read(decode_comparison, encode_comparison, merge_comparison), CorruptComparison,
        ),
        Records("readings", 0.02, readings, in_json, read(decode_reading, encode_reading, alone), CorruptReading),
        Records("alerts", 0.02, [_sent(*encode_alert(_alert()))], in_json, _read_alert, UnreadableAlert),
        Records(
            "acknowledgements", 0.01,
            [_sent(*encode_acknowledgement(Acknowledgement("drift-5f", "ada", _NOW, "mine")))], in_json,
            _read_acknowledgement, UnreadableAlert,
        ),
        Records("control records", 0.02, _controls(), in_json, _read_control, UnreadableControl),
        SignedControls("control, signed", 0.01, _controls(), in_json, _read_signed_control, UnreadableControl),
        Records("decisions", 0.02, _decisions(), in_json, _read_decision, UnreadableDecision),
        DeadLetters("dead letters", 0.01, _dead_letters(), in_bytes, _read_dead_letter, NotADeadLetter),
        Records("label runs", 0.005, runs, _behind_checksum(in_bytes, _RUN_HEAD), _read_run, label_runs.CorruptLabels),
        Records(
            "label manifests", 0.005, manifest, _behind_checksum(in_msgpack, 4),
            _read_manifest, label_runs.CorruptLabels,
        ),
    ]  # fmt: skip


class DeadLetters(Records):
    """Its facts are in headers."""

    def case(self, rng: random.Random) -> Case:
        [message] = super().case(rng)
        headers = list(message.headers)
        others = [content or b"" for _, content in headers]
        for _ in range(rng.choice((0, 1, 2))):
            at = rng.randrange(len(headers))
            name, content = headers[at]
            match rng.randrange(4):
                case 0:
                    del headers[at]
                case 1:
                    headers.insert(rng.randrange(len(headers)), headers[at])
                case 2:
                    headers[at] = (
                        name,
                        rng.choice((None, b"-1", b"9" * 19, b"9" * 5000, b"", b"\xff", b"\xd9\xa3", b"0")),
                    )
                case _:
                    headers[at] = (name, in_bytes(rng, content or b"", others))
            if not headers:
                break
        return [msgspec.structs.replace(message, headers=headers)]


class SignedControls(Records):
    """Most are signed once more after the change, so that what stands behind the signature is reached."""

    def case(self, rng: random.Random) -> Case:
        [message] = super().case(rng)
        if message.value is None:
            return [message]
        [(name, content)] = signature_headers(_SIGNER, message.topic, _PIPELINE, message.value)
        if rng.random() < 0.3:
            content = in_bytes(rng, content, [content])
        return [msgspec.structs.replace(message, headers=[*message.headers, (name, content)])]


def _read_alert(message: Message) -> None:
    encode_alert(decode_alert(message.value, message.headers, "alerts"))  # type: ignore[arg-type]


def _read_acknowledgement(message: Message) -> None:
    encode_acknowledgement(decode_acknowledgement(message.value, message.headers, "summaries"))  # type: ignore[arg-type]


def _read_control(message: Message) -> None:
    control = read_control_record(message, _PIPELINE)
    if control is None:
        raise Wrong("the pipeline's own record was passed over")
    list(control.loaded())
    _ = control.rollout and control.rollout.share


def _read_signed_control(message: Message) -> None:
    read_control_record(message, _PIPELINE, _TRUSTED)


def _read_decision(message: Message) -> None:
    decision = decision_of(message, _PIPELINE)
    if decision is None:
        raise Wrong("the pipeline's own record was passed over")
    concerns(decision, model=ModelRef("other", 1), rollout="other")


def _read_dead_letter(message: Message) -> None:
    letter = DeadLetter.from_record(message.key, message.value, message.headers)  # type: ignore[arg-type]
    if DeadLetter.from_record(*letter.to_record()) != replace(letter, message=letter.message[:4096]):
        raise Wrong("it reads back as another")
    try:
        letter = letter.opened({_SECRET.id: _SECRET})
    except ValueSealed:
        return
    if letter.left_out is None:
        letter.replay()


def _read_run(message: Message) -> None:
    run = label_runs.decode_run("labels", message.value or b"", 3, 0, 1)
    if not len(run.hashes) == len(run.values) == len(run.times):
        raise Wrong("columns of different lengths")


def _read_manifest(message: Message) -> None:
    label_runs.encode_manifest(label_runs.decode_manifest("labels", message.value or b""))


def _behind_checksum(mutate: Mutator, start: int) -> Mutator:
    """Of the stores' records: the CRC-32 of what follows `start` stands in 4 bytes somewhere in front of it."""

    def mutated(rng: random.Random, value: bytes, others: Sequence[bytes]) -> bytes:
        head, body = value[:start], value[start:]
        changed = mutate(rng, body, [other[start:] for other in others])
        old, new = (struct.pack("<I", zlib.crc32(each)) for each in (body, changed))
        if rng.random() < 0.1:
            return in_bytes(rng, value, others)
        if len(head) > 4 and rng.random() < 0.5:
            head = head[:-4] + struct.pack("<I", len(changed) // 20)
        return head.replace(old, new, 1) + changed

    return mutated


def _sent(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> Message:
    return Message(value, list(headers), key)


def _sums(rng: np.random.Generator, binned: bool) -> QualitySums:
    bins = rng.poisson(0.3, (2, SCORE_BINS)) if binned else None
    return QualitySums(9, 7, 2, 3, 2**40, -(2**70), 5, 2**33, 1, bins, None if bins is None else bins * 2**31)


def _cells(rng: np.random.Generator) -> CellSums:
    rows = rng.poisson(0.5, KEY_GROUPS)
    losses = np.where(rows[:, None] > 0, rng.integers(-9, 2**32, (KEY_GROUPS, 2)) % 2**32, 0)
    return CellSums(rows, losses)


def _summaries() -> list[Summary]:
    rng = np.random.default_rng(1)
    evidence = Evidence([7, 9], ["a", "b"], {"distance": [1.5, None], "origin": ["JFK", "LGA"]}, [0.5, 0.1])
    signals = {
        f"feature:{number}": SignalCounts(rng.integers(0, 10**number, 36), 9, 2**40, 2**50, -1.0, 9.5, 1, 2)
        for number in range(1, 6)
    }
    served = {("champion", "delay@3", 2): 30, ("canary", "delay@4", 2): 6}
    shared = {"event_times": (_NOW, _NOW + 9), "timestamps": (_NOW, _NOW + 9), "watermark": _NOW, "late_rows": 1}
    return [
        Summary(3, 1, 0, True, 0, 71, 36, "5f0c", signals, bad_time=0, served=served, evidence=evidence, **shared),  # type: ignore[arg-type]
        Summary(3, 1, 0, False, 0, 71, 0, "5f0c", {}, bad_time=0, served={}, **shared),  # type: ignore[arg-type]
    ]


def _qualities() -> list[QualitySummary]:
    rng = np.random.default_rng(2)
    groups = {(_NOW + at, "champion", f"origin={at}"): _sums(rng, at % 2 == 0) for at in range(3)}
    cells = {(_NOW, "champion", "delay@3", ""): _cells(rng), (_NOW, "canary", "delay@4", ""): _cells(rng)}
    delays = rng.integers(0, 9, SLOTS)
    head = (3, 1, 0, True, 0, 71, 36, 30, 2, 3, 1, 4, (_NOW, _NOW + 9), _NOW, {("champion", "delay@3", 2): 36})
    return [
        QualitySummary(*head, {"champion": (30, 4)}, delays, groups, cells),
        QualitySummary(*head, {}, delays, {}),
    ]


def _comparisons() -> list[ComparisonSummary]:
    rng = np.random.default_rng(3)
    group = (_NOW, "delay@4", "delay@3", "")
    pair = PairSums(
        9, 1, 7, 2, 3, -(2**70), 2**71, rng.poisson(0.1, len(DIFFERENCE_EDGES) + 1), rng.poisson(0.02, (RANKS, RANKS))
    )
    labelled = {group: LabelledPair(_sums(rng, True), _sums(rng, True))}
    head = (3, 1, 0, True, 0, 71, (_NOW, _NOW + 9), _NOW)
    return [
        ComparisonSummary(*head, False, {group: pair}, {}, {}, {"delay@4": (9, 1200)}),
        ComparisonSummary(*head, True, {}, labelled, {group: _cells(rng)}, {}),
    ]


def _readings() -> list[OperationalReading]:
    return [
        OperationalReading("score", "a", _NOW, 10_000),
        OperationalReading(
            "score", "naïve", _NOW, 10_000, (0, 3), 900, {"decode": 2}, 1, 7.5, 3, 9, 1, 70,
            {"champion": VariantReading("delay@3", 900, 1, 2, 9, 1200)},
        ),
    ]  # fmt: skip


def _alert() -> Alert:
    cause = Cause("feature:distance", "data_drift", "location", "bins", 9.5, {"mean": 1.0}, {"mean": 2.0}, {}, "a=b")
    where = Whereabouts(3, 0, 71, ["a", "b"])
    return Alert(
        "drift-5f", "raised", "warning", "distance: mean 1,040 → 1,620", _PIPELINE, "data_drift", _NOW, _NOW, _NOW, 1,
        [cause, cause], 3, "delay@3", 2, where, "a cool-down", "ada", "mine",
    )  # fmt: skip


def _control() -> Control:
    old, new = ModelRef("delay", 3), ModelRef("delay", 4)
    return Control(
        _PIPELINE, 7, old, "ada", "a try", _NOW, ModelRef("delay", 2), {"canary": new},
        (Rule("staff", "canary", ("UA1", "UA2")), Rule("jfk", "canary", (), "origin", ("JFK",))),
        (Experiment("r1", 0.1, {"canary": 1.0}), Experiment("ab", 0.5, {"champion": 1.0, "canary": 2.0})),
        (Shadow(new, 0.5),), Rollout("r1", new, old, (0.0, 0.1, 1.0), 1, "automatic"), ModelRef("small", 1),
    )  # fmt: skip


def _controls() -> list[Message]:
    controls = (_control(), Control(_PIPELINE, 1, ModelRef("delay", 1), "ada", "", _NOW))
    return [
        Message(msgspec.json.encode(each), [CONTROL_SCHEMA], _PIPELINE.encode(), topic="flights.control")
        for each in controls
    ]


def _decisions() -> list[Message]:
    old, new = ModelRef("delay", 3), ModelRef("delay", 4)
    evidence = GateEvidence(
        "main", "paired", "brier", "promote", 900, 60, 64, 0.005, 0.02, -0.001, -0.004, 0.002, 0.1, ""
    )
    look = Look(
        "r1", new, old, 1, 0.1, _NOW, "promote", "it is not worse", (evidence,), (Guardrail("latency", 1.5, 2, True),)
    )
    staging = Staging(new, "5f0c", True, (("it loads", True),), look)
    decisions = (
        Decision(_PIPELINE, 7, "canary step", "ada", "", _NOW, _control(), _control(), look),
        Decision(_PIPELINE, 7, "stage", "ada", "", _NOW, staging=staging),
    )
    return [Message(msgspec.json.encode(each), [DECISION_SCHEMA], _PIPELINE.encode()) for each in decisions]


def _dead_letters() -> list[Message]:
    letter = DeadLetter(
        b"JFK", b"{", (("traceparent", b"00-0af7"), ("n", b"")), "flights", 0, 42, _NOW,
        "decode", "not_json", "No JSON.", "delay@3", 2,
    )  # fmt: skip
    return [_sent(*each.to_record()) for each in (letter, letter.without_value(), letter.sealed(_SECRET))]


def _run() -> label_runs.Run:
    rows = np.arange(30)
    return label_runs.sorted_run(rows.astype(np.uint64) << np.uint64(50), rows.astype(np.float32), rows + _NOW)
