"""Records as lines for a person and as JSON for a program."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiokafka import ConsumerRecord

from penstock.schemas.alerts import decode_alert
from penstock.schemas.dead_letters import DeadLetter, NotADeadLetter
from penstock.schemas.errors import PenstockError
from penstock.schemas.records import REVIEW_HEADER
from penstock.streams.console.alert_rendering import alert_line
from penstock.streams.console.statistics_rendering import paired_line, paired_rows, summary_document, summary_line

_TEXT_LIMIT = 200
"""Longer values are cut on the screen; `--json` prints them whole."""


def time_text(unix_ms: int) -> str:
    """A time of day in UTC with its date, or `-` where there is none.

    >>> time_text(1357034400000)
    '2013-01-01 10:00:00.000'
    """
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    except (OverflowError, ValueError, OSError):
        return "-"


def text_of(value: bytes | None, limit: int = _TEXT_LIMIT) -> str:
    r"""Bytes for one line of a terminal: control characters escaped, so that an event cannot draw on the screen.

    >>> text_of(b"JFK\x1b[2J"), text_of(None), text_of(b"\xff\xfe"), text_of(b"abcdef", limit=4)
    ('JFK\\x1b[2J', '-', '\\xff\\xfe', 'abcd… (6 bytes)')
    """
    if value is None:
        return "-"
    text = value[: limit * 4].decode(errors="backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:limit])
    return f"{shown}… ({len(value)} bytes)" if len(text) > limit or len(value) > limit * 4 else shown


def json_of(value: bytes | None) -> Any:
    """Bytes inside a JSON document: as JSON where they are, else as text, else in base64."""
    if value is None:
        return None
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text_or_base64(value)


def text_or_base64(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def hexdump(value: bytes, limit: int = 4096) -> Iterator[str]:
    r"""Offset, sixteen bytes in hexadecimal, and what of them is ASCII, like `hexdump -C`.

    >>> print(*hexdump(b"not JSON \x00\xff and more"), sep="\n")
    00000000  6e 6f 74 20 4a 53 4f 4e  20 00 ff 20 61 6e 64 20  |not JSON .. and |
    00000010  6d 6f 72 65                                       |more|
    """
    for start in range(0, min(len(value), limit), 16):
        row = value[start : min(start + 16, limit)]
        octets = "  ".join(" ".join(f"{byte:02x}" for byte in row[half : half + 8]) for half in (0, 8)).rstrip()
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:08x}  {octets:<48}  |{text}|"
    if len(value) > limit:
        yield f"… {len(value) - limit} bytes more"


def lines(role: str, record: ConsumerRecord) -> list[str]:
    """What a person reads of a record of the topic with this role: one line, or one per scored row."""
    place = f"{time_text(record.timestamp)}  {record.partition}-{record.offset:<8}"
    try:
        return [f"{place}  {line}" for line in _LINES.get(role, _event)(record)]
    except _UNREADABLE as error:
        return [f"{place}  cannot be read: {error}"]


def documents(role: str, record: ConsumerRecord) -> list[Any]:
    """The same for a program: one JSON document per record, or per scored row."""
    if (opened := _DOCUMENTS.get(role)) is not None:
        try:
            return list(opened(record))
        except PenstockError as error:
            return [{"record": [record.partition, record.offset], "unreadable": str(error)}]
    document = {
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": text_or_base64(record.key),
        "headers": [[name, text_or_base64(value)] for name, value in record.headers],
        "value": json_of(record.value),
    }
    return [document]


def letter_document(record: ConsumerRecord, letter: DeadLetter | NotADeadLetter, replayed: bool) -> dict[str, Any]:
    """A dead letter for a program."""
    position = f"{record.partition}-{record.offset}"
    if isinstance(letter, NotADeadLetter):
        return {"position": position, "unreadable": str(letter), "value": json_of(record.value)}
    return {
        "position": position, "replayed": replayed,
        "stage": letter.stage, "error": letter.error, "message": letter.message, "model": letter.model,
        "attempt": letter.attempt, "topic": letter.topic, "partition": letter.partition, "offset": letter.offset,
        "timestamp": letter.timestamp, "key": text_or_base64(letter.key),
        "headers": [[name, text_or_base64(value)] for name, value in letter.headers],
        "value": None if letter.sealed_with else json_of(letter.value), "encrypted_with": letter.sealed_with,
        "value_left_out": letter.left_out and letter.left_out._asdict(),
    }  # fmt: skip


def letter_row(record: ConsumerRecord, letter: DeadLetter | NotADeadLetter, replayed: bool) -> list[str]:
    """A dead letter in a table: position, time, topic, stage, error, message, attempt, replayed."""
    position = f"{record.partition}-{record.offset}"
    if isinstance(letter, NotADeadLetter):
        return [position, time_text(record.timestamp), "-", "-", "-", str(letter), "-", "-"]
    return [
        position, time_text(letter.timestamp), _short(letter.topic), letter.stage, _short(letter.error),
        _short(letter.message), str(letter.attempt), "yes" if replayed else "no",
    ]  # fmt: skip


def letter_lines(record: ConsumerRecord, letter: DeadLetter | NotADeadLetter, replayed: bool) -> Iterator[str]:
    """One dead letter in full."""
    yield f"position   {record.partition}-{record.offset}"
    if isinstance(letter, NotADeadLetter):
        yield str(letter)
        headers, left_out, sealed_with, content = record.headers, None, None, record.value
    else:
        headers, left_out, sealed_with, content = letter.headers, letter.left_out, letter.sealed_with, letter.value
        yield f"source     {_short(letter.topic)}, partition {letter.partition}, offset {letter.offset}"
        yield f"time       {time_text(letter.timestamp)}"
        yield f"failed at  {letter.stage}: {_short(letter.error)}"
        yield f"why        {text_of(letter.message.encode(errors='backslashreplace'), 4096)}"
        yield f"model      {_short(letter.model or '-')}"
        yield f"attempt    {letter.attempt}{', replayed' if replayed else ''}"
    yield f"key        {text_of(record.key)}"
    for name, value in headers:
        yield f"header     {_short(name)}: {text_of(value)}"
    if left_out is not None:
        yield f"value      left out: {left_out.size} bytes, SHA-256 {left_out.sha256}"
    elif content is None:
        yield "value      none (a tombstone)"
    elif sealed_with is not None:
        yield f"value      encrypted with the key {_short(sealed_with)}, which is not here; {len(content)} bytes"
        yield "           name its file in security.dead_letter_keys to read it"
    else:
        yield f"value      {len(content)} bytes"
        yield f"           {text_of(content, 2000)}"
        yield from hexdump(content)


def _event(record: ConsumerRecord) -> Iterator[str]:
    yield f"{text_of(record.key, 40)}  {text_of(record.value)}"


def _prediction(record: ConsumerRecord) -> Iterator[str]:
    found = msgspec.json.decode(record.value or b"", type=dict[str, Any])
    parts = [
        _short(found["id"]), f"{found['score']:.6f}", f"{found['model']}@{found['version']}", found["variant"],
    ]  # fmt: skip
    if found.get("defaulted"):
        parts.append("defaulted: " + ", ".join(map(_short, found["defaulted"])))
    if found.get("fallback"):
        parts.append(f"fallback: {_short(found['fallback'])}")
    if (reason := dict(record.headers).get(REVIEW_HEADER)) is not None:
        parts.append(f"for review: {text_of(reason)}")
    yield "  ".join(parts)


def _control(record: ConsumerRecord) -> Iterator[str]:
    found = msgspec.json.decode(record.value or b"", type=dict[str, Any])
    model = found["champion"]
    yield (
        f"revision {found['revision']}  {_short(model['name'])}@{model['version']} serves  "
        f"by {_short(found['author'])}: {_short(found['reason'])}"
    )


def _decision(record: ConsumerRecord) -> Iterator[str]:
    found = msgspec.json.decode(record.value or b"", type=dict[str, Any])
    yield (
        f"revision {found['revision']}  {_short(found['command'])}  by {_short(found['author'])}: "
        f"{_short(found['reason'])}"
    )


def _alert(record: ConsumerRecord) -> Iterator[str]:
    yield alert_line(decode_alert(record.value, record.headers, f"{record.topic}, offset {record.offset}"))


def _label(record: ConsumerRecord) -> Iterator[str]:
    found = msgspec.json.decode(record.value or b"", type=dict[str, Any])
    if "watermark" in found:
        yield f"all labels up to {time_text(found['watermark'])} have been sent"
    else:
        yield f"{_short(found['id'])}  {found['label']}  at {time_text(found['time'])}"


def _dead_letter(record: ConsumerRecord) -> Iterator[str]:
    letter = DeadLetter.from_record(record.key, record.value, record.headers)
    attempt = f"  attempt {letter.attempt}" if letter.attempt > 1 else ""
    yield f"{letter.stage}: {letter.error}  {_short(letter.message)}{attempt}"


def _scored(record: ConsumerRecord) -> Iterator[str]:
    for row in _scored_rows(record):
        features = "  ".join(f"{name}={_short(value)}" for name, value in row["features"].items() if value is not None)
        yield f"{_short(row['id'])}  {row['score']:.6f}  {row['model']}  {features}"


def _scored_rows(record: ConsumerRecord) -> list[dict[str, Any]]:
    from penstock.schemas.scored import decode

    block = decode(
        record.value, record.headers, place=f"{record.topic}, partition {record.partition}, offset {record.offset}"
    )
    names = block.columns.layout.names
    rows = []
    for row in block.to_table().to_pylist():
        own = {name: f"feature:{name}" if f"feature:{name}" in row else name for name in names}
        features = {name: row.pop(column) for name, column in own.items()}
        ages = {name.removeprefix("age_s:"): row.pop(name) for name in list(row) if name.startswith("age_s:")}
        row["key"] = text_or_base64(row["key"])
        rows.append({**row, "features": features, "age_s": ages, "record": [record.partition, record.offset]})
    return rows


def _summary(record: ConsumerRecord) -> Iterator[str]:
    yield _short(summary_line(record))


def _paired(record: ConsumerRecord) -> Iterator[str]:
    for row in paired_rows(record):
        yield _short(paired_line(row))


def _short(value: Any) -> str:
    return text_of(str(value).encode(errors="backslashreplace"))


def to_json(document: Any) -> str:
    """One line of JSON; times in ISO 8601, NaN as null."""
    return msgspec.json.encode(document, enc_hook=str).decode()


_UNREADABLE = (PenstockError, msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError, ValueError)

_LINES: dict[str, Callable[[ConsumerRecord], Iterator[str]]] = {
    "predictions": _prediction,
    "control": _control,
    "decisions": _decision,
    "labels": _label,
    "alerts": _alert,
    "dead-letters": _dead_letter,
    "scored": _scored,
    "review": _prediction,
    "summaries": _summary,
    "shadow-scores": _paired,
}

_DOCUMENTS: dict[str, Callable[[ConsumerRecord], Iterable[Any]]] = {
    "scored": _scored_rows,
    "summaries": lambda record: [summary_document(record)],
    "shadow-scores": paired_rows,
}
