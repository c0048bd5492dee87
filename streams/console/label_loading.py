"""`penstock labels load`: a file of outcomes, often found out by hand, into the topic of the labels."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.schemas.errors import ConfigurationError, PenstockError
from penstock.schemas.labels import LARGEST, encode_label
from penstock.schemas.records import Label, Source
from penstock.streams import kafka as clients
from penstock.streams.console.event_files import Chunk, Event
from penstock.streams.console.sending import Sent, send
from penstock.streams.features.files import FeatureFile, Row
from penstock.streams.features.loading import BadRow, time_ms

if TYPE_CHECKING:
    from penstock.streams.settings import KafkaSettings

_CHUNK_ROWS = 2048
_WORDS = {"true": 1.0, "false": 0.0}
_PLACE = re.compile(r"([0-9]{1,9})-([0-9]{1,18})", re.ASCII)
"""The id of an event that has none of its own."""

LoadProgress = Callable[[Sent, int], None]
"""Called with what is sent, and with the size of the file: bytes, or rows of Parquet."""


class BadLabelFile(PenstockError):
    """A row of the file is no label, and bad rows were not to be left out.

    >>> print(BadLabelFile("outcomes.csv", BadRow(7, "has no id")))
    outcomes.csv: line 7 has no id. The labels before it are sent; leave out --strict to skip it.
    """

    exit_code = 2

    def __init__(self, file: str, row: BadRow) -> None:
        self.file, self.row = file, row
        super().__init__(f"{file}: {row}. The labels before it are sent; leave out --strict to skip it.")


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """Which columns make up a label.

    id, label     these have to be there
    time          when the outcome became known: Unix time in `time_unit` or ISO 8601 (UTC without a zone)
    key           of the event
    partition, offset   of the event; they decide where the label goes before its key does
    time_unit     ms or s
    origin        what the labels say of where they come from
    id_is_place   events have no id of their own, so that theirs, PARTITION-OFFSET, says where they are
    strict        stop at the first bad row; otherwise they are left out and reported
    """

    id: str = "id"
    label: str = "label"
    time: str = "time"
    key: str = "key"
    partition: str = "partition"
    offset: str = "offset"
    time_unit: str = "ms"
    origin: str = "manual"
    id_is_place: bool = False
    strict: bool = False


@dataclass(slots=True)
class LabelReport:
    """What became of a file's rows."""

    rows: int = 0
    bad: int = 0
    first_bad: list[BadRow] = field(default_factory=list)
    """The first twenty."""
    sent: Sent = field(default_factory=Sent)

    def add_bad(self, row: BadRow) -> None:
        self.bad += 1
        if len(self.first_bad) < 20:
            self.first_bad.append(row)


async def load_labels(
    kafka: KafkaSettings,
    topic: str,
    path: Path,
    plan: LabelPlan,
    *,
    stop: asyncio.Event | None = None,
    progress: LoadProgress = lambda sent, total: None,
    now: Callable[[], float] = time.time,
) -> LabelReport:
    """Send every row of `path` to the partition of its event. Loading a file again changes nothing.

    Args:
        kafka: where to.
        topic: of the labels.
        path: CSV, TSV, NDJSON (each also with .gz) or Parquet, by the ending of its name.
        plan: which columns make up a label.
        stop: set, it ends the loading early and cleanly.
        progress: called with what is sent and with the size of the file.
        now: Unix seconds, the time of rows without one.

    Raises:
        ConfigurationError: the file or a column that has to be there is not.
        BadLabelFile: a bad row, where `plan.strict`.
        UnreachableError, AccessRefused, TopicMissing: as `sending.send`.
    """
    report = LabelReport()
    with FeatureFile(path) as file:
        if file.columns is not None:
            _check_columns(path, file.columns, plan)
        async with clients.consumer(kafka) as consumer:
            partitions = len(await clients.partitions(consumer, topic))
        chunks = _chunks(file, plan, partitions, int(now() * 1000), report)
        report.sent = await send(kafka, topic, chunks, stop=stop, progress=lambda sent: progress(sent, file.total))
    return report


def label_of(row: Row, plan: LabelPlan, partitions: int, now_ms: int) -> Label:
    """The label of a row. Raises ValueError, whose text goes on from "line 7".

    >>> label_of(Row(7, {"id": "UA1545", "label": "true", "key": "EWR"}), LabelPlan(), 2, now_ms=9)
    Label(id='UA1545', label=1.0, time=9, key='EWR', source=None, origin='manual')
    >>> label_of(Row(7, {"id": "UA1545", "label": "1"}), LabelPlan(), 2, now_ms=9)
    Traceback (most recent call last):
    ...
    ValueError: has neither key nor partition and offset: where its event is cannot be known
    """
    if row.problem is not None:
        raise ValueError(row.problem)
    values = row.values
    name, key = _text(values.get(plan.id), plan.id), _text(values.get(plan.key), plan.key)
    if name is None:
        raise ValueError(f"has no {plan.id}")
    source = _source(values.get(plan.partition), values.get(plan.offset), plan)
    if source is None and plan.id_is_place and (place := _PLACE.fullmatch(name)) is not None:
        source = Source(int(place[1]), int(place[2]))
    if source is None and key is None:
        raise ValueError(
            f"has neither {plan.key} nor {plan.partition} and {plan.offset}: where its event is cannot be known"
        )
    if source is not None and source.partition >= partitions:
        raise ValueError(f"has {plan.partition} {source.partition}; the topic has partitions 0 to {partitions - 1}")
    outcome = _value(values.get(plan.label), plan.label)
    return Label(name, outcome, _time(values, plan, now_ms), key, source, plan.origin)


def _chunks(file: FeatureFile, plan: LabelPlan, partitions: int, now_ms: int, report: LabelReport) -> Iterator[Chunk]:
    rows = iter(file)
    while batch := list(islice(rows, _CHUNK_ROWS)):
        events, refused = [], None
        for row in batch:
            report.rows += 1
            try:
                events.append(_event(label_of(row, plan, partitions, now_ms), row.line))
            except ValueError as error:
                report.add_bad(BadRow(row.line, str(error)))
                if plan.strict:
                    refused = error
                    break
        yield Chunk(events, file.done)
        if refused is not None:
            raise BadLabelFile(str(file.path), report.first_bad[0]) from refused


def _event(label: Label, line: int) -> Event:
    value, headers = encode_label(label)
    key = None if label.key is None else label.key.encode()
    return Event(key, value, line, headers, None if label.source is None else label.source.partition)


def _text(value: Any, column: str) -> str | None:
    """Ids and keys as the events have them: text, or whole numbers in decimal."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"has a {column} that is not UTF-8") from None
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"has {column} {value!r}; expected text or a whole number")


def _value(value: Any, column: str) -> float:
    if value is None or value == "":
        raise ValueError(f"has no {column}")
    number: float | None = None
    if isinstance(value, str) and value.lower() in _WORDS:
        number = _WORDS[value.lower()]
    elif isinstance(value, str | int | float | Decimal):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = None
    if number is None or not -LARGEST <= number <= LARGEST:
        raise ValueError(f"has {column} {value!r}; expected a finite number, true or false: a class goes by its number")
    return number


def _source(partition: Any, offset: Any, plan: LabelPlan) -> Source | None:
    numbers = []
    for column, value in ((plan.partition, partition), (plan.offset, offset)):
        if value is None or value == "":
            continue
        text = str(value)
        if not (text.isascii() and text.isdigit() and int(text) < 2**63):
            raise ValueError(f"has {column} {value!r}; expected a whole number from 0")
        numbers.append(int(text))
    if len(numbers) == 1:
        raise ValueError(f"has only one of {plan.partition} and {plan.offset}")
    return Source(*numbers) if numbers else None


def _time(values: dict[str, Any], plan: LabelPlan, now_ms: int) -> int:
    value = values.get(plan.time)
    if value is None:
        return now_ms
    try:
        return time_ms(value, plan.time_unit)
    except ValueError as error:
        raise ValueError(f"has no time: {plan.time} {error}") from None


def _check_columns(path: Path, columns: tuple[str, ...], plan: LabelPlan) -> None:
    """Columns that were named, and those that every label has, must be there; NDJSON rows say so one by one."""
    usual = LabelPlan()
    for name in ("id", "label", "time", "key"):
        column: str = getattr(plan, name)
        if column not in columns and (name in ("id", "label") or column != getattr(usual, name)):
            raise ConfigurationError(
                "the command line",
                f"--{name}",
                found=repr(column),
                expected=f"a column of {path}: {', '.join(columns)}",
            )
    if plan.key not in columns and not {plan.partition, plan.offset} <= set(columns) and not plan.id_is_place:
        raise ConfigurationError(
            "the command line", "--key", found=None, expected=f"a column of {path}: {', '.join(columns)}",
            fix="A label goes to the partition of its event, so it needs the event's key, or its partition and offset.",
        )  # fmt: skip
