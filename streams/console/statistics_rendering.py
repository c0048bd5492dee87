"""What watch, shadow and the workers write, as lines for a person and as JSON for a program: figures without arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from aiokafka import ConsumerRecord

from penstock.schemas.alerts import decode_acknowledgement
from penstock.schemas.comparison_wire import decode_comparison
from penstock.schemas.operations import decode_reading
from penstock.schemas.paired_wire import decode as decode_paired
from penstock.schemas.quality import decode_quality
from penstock.schemas.records import SCHEMA_HEADER
from penstock.schemas.summaries import decode_summary

_DECODERS = {
    b"summary": decode_summary,
    b"quality": decode_quality,
    b"comparison": decode_comparison,
    b"operations": decode_reading,
}


def summary_document(record: ConsumerRecord) -> dict[str, Any]:
    """A record of the summaries topic by its schema: its kind, and those of its fields that are figures or names.

    Raises the PenstockError of a record that cannot be read.
    """
    place = f"{record.topic}, offset {record.offset}"
    kind = dict(record.headers).get(SCHEMA_HEADER, b"").partition(b"/")[0]
    found: Any
    if (decode := _DECODERS.get(kind)) is not None:
        found = decode(record.value, record.headers, place=place)
    else:  # refuses what is not an acknowledgement either
        found = decode_acknowledgement(record.value, record.headers, place)
    fields = msgspec.structs.asdict(found)
    if "segment" not in fields:
        fields = msgspec.to_builtins(found)  # small, and without arrays of numbers
    figures = {name: value for name, value in fields.items() if _is_plain(value)}
    document = {"kind": kind.decode(), **figures, "record": [record.partition, record.offset]}
    match kind:
        case b"summary":
            document["signals"] = sorted(found.signals)
        case b"comparison":
            document["candidates"] = sorted({group[1] for group in (*found.pairs, *found.labelled, *found.cells)})
            document["rows"] = sum(_every_row(found).values())
    return document


def summary_line(record: ConsumerRecord) -> str:
    """The same for a person."""
    found = summary_document(record)
    if "segment" not in found:
        fields = [f"{name} {_text(value)}" for name, value in found.items() if value and name not in ("kind", "record")]
        return "  ".join([found["kind"], *fields])
    where = f"{found['kind']}  partition {found['partition']}, segment {found['segment']}"
    where += f", part {found['part']}" if found["part"] or not found["complete"] else ""
    match found["kind"]:
        case "summary":
            against = found["reference"] or "nothing yet"
            told = f"{found['rows']:,} rows, {len(found['signals'])} signals, against {against}"
        case "quality":
            outcomes = ", ".join(f"{found[each]:,} {each}" for each in ("labelled", "silent", "missing") if found[each])
            told = f"{found['rows']:,} rows: {outcomes or 'none that counts'}"
        case _:
            when = "at maturity" if found["mature"] else "at once"
            told = f"{', '.join(found['candidates']) or 'nobody'}: {found['rows']:,} rows, {when}"
    return f"{where}: {told}"


def _every_row(comparison: Any) -> dict[str, int]:
    """Candidate → its rows, of which slices are parts."""
    rows: dict[str, int] = {}
    counted = [(group, sums.rows) for group, sums in comparison.pairs.items()]
    counted += [(group, sums.served.rows) for group, sums in comparison.labelled.items()]
    for (_, candidate, _, name), count in counted:
        if not name:
            rows[candidate] = rows.get(candidate, 0) + count
    return rows


def paired_rows(record: ConsumerRecord) -> Iterator[dict[str, Any]]:
    """A record of the shadow scores row by row: what was served, and what each candidate that was asked says.

    Raises CorruptPaired.
    """
    place = f"{record.topic}, partition {record.partition}, offset {record.offset}"
    block = decode_paired(record.value, record.headers, place=place)
    variants, models = block.variants.decoded(), block.models.decoded()
    for row in range(block.rows):
        yield {
            "partition": block.partition,
            "offset": int(block.offsets[row]),
            "event_time": int(block.event_times[row]),
            "variant": variants[row],
            "model": models[row],
            "score": float(block.score[row]),
            "candidates": {each.model: float(each.score[row]) for each in block.candidates if each.sampled[row]},
            "record": [record.partition, record.offset],
        }


def paired_line(row: dict[str, Any]) -> str:
    """One row for a person."""
    candidates = "  ".join(f"{model} {score:.6f}" for model, score in row["candidates"].items())
    return f"{row['partition']}-{row['offset']}  {row['variant']}: {row['model']} {row['score']:.6f}  {candidates}"


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    return value is None or isinstance(value, bool | int | float | str)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(each)}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
