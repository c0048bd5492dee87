"""Loads a file of features into Redis: the work of `penstock features load`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.models.key_templates import KeyTemplate
from penstock.schemas.columns import MISSING_INTEGER, FeatureType
from penstock.schemas.errors import ConfigurationError, PenstockError
from penstock.streams.features.files import FeatureFile, Row
from penstock.streams.features.texts import malformed_texts
from penstock.streams.features.writer import FeatureWriter, HashesRefused, field_text

_BATCH_ROWS = 4096


class BadRow(NamedTuple):
    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line} {self.reason}"


class BadFeatureFile(PenstockError):
    """A row of the file cannot be loaded, and bad rows were not to be left out.

    >>> print(BadFeatureFile("planes.csv", BadRow(7, "has no key: tailnum is empty"), written=5))
    planes.csv: line 7 has no key: tailnum is empty. The 5 rows before it are loaded; leave out --strict to skip it.
    """

    def __init__(self, file: str, row: BadRow, *, written: int) -> None:
        self.file, self.row, self.written = file, row, written
        super().__init__(f"{file}: {row}. The {written} rows before it are loaded; leave out --strict to skip it.")


@dataclass(slots=True)
class LoadReport:
    """What became of a file's rows."""

    rows: int = 0
    written: int = 0
    bad: int = 0
    first_bad: list[BadRow] = field(default_factory=list)
    """The first twenty."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How rows become hashes.

    prefix       of the hashes' keys: the entity's
    key          a template over the file's columns, or the name of one: `tailnum`, `{origin}:{time_hour:hour}`
    fields       field of the hash → column; None: every column that is in neither the key nor `time_column`
    types        field → type, as the catalogue has it: other values make a bad row. Fields without one take any text
    time_column  when a row's values were known: Unix time in `time_unit`, or ISO 8601 (UTC without a zone); None: now
    expire_s     Redis forgets the hashes after so many seconds; None: it does not
    """

    prefix: str
    key: str
    fields: Mapping[str, str] | None = None
    types: Mapping[str, FeatureType] = field(default_factory=dict)
    time_column: str | None = None
    time_unit: str = "ms"
    expire_s: int | None = None


async def load_features(
    path: Path,
    writer: FeatureWriter,
    plan: LoadPlan,
    *,
    strict: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_bad_row: Callable[[BadRow], None] = lambda row: None,
    now: Callable[[], float] = time.time,
) -> LoadReport:
    """Writes the rows of `path`, some thousands to a round trip. A later row with the same key wins.

    Args:
        path: CSV, TSV, NDJSON (each also with .gz) or Parquet, by the ending of its name.
        writer: Where the hashes go.
        plan: How rows become hashes.
        strict: Stop at the first bad row; otherwise they are left out and reported.
        on_progress: Called with what is read and what there is, in bytes or rows of the file.
        on_bad_row: Called for each bad row.
        now: Unix seconds, the time of rows without one.

    Raises:
        ConfigurationError: the file or a column is not there, or the plan cannot be used.
        BadFeatureFile: a bad row, where `strict`.
        UnreachableError: Redis is away; rows before are written, and loading again is safe.
    """
    template = _template(plan.key)
    report = LoadReport()
    with FeatureFile(path) as file:
        if file.columns is not None:
            _check_columns(path, file.columns, template, plan)
        rows = iter(file)
        while batch := list(islice(rows, _BATCH_ROWS)):
            hashes = _Hashes(batch, template, plan, int(now() * 1000))
            bad = {**hashes.bad}
            good = hashes.good(until=min(bad) if strict and bad else None)
            try:
                await hashes.write(writer, good)
            except HashesRefused as refusal:
                bad |= {good[at]: BadRow(batch[good[at]].line, f"is refused by Redis: {reason}")
                        for at, (_, reason) in refusal.refused.items()}  # fmt: skip
            report.rows += len(batch)
            report.written += sum(place not in bad for place in good)
            for place in sorted(bad):
                if strict:
                    raise BadFeatureFile(str(path), bad[place], written=report.written)
                report.bad += 1
                report.first_bad += [bad[place]][: 20 - len(report.first_bad)]
                on_bad_row(bad[place])
            on_progress(file.done, file.total)
    return report


class _Hashes:
    """Some rows as hashes. `bad` maps places in the batch to what is wrong there."""

    def __init__(self, batch: Sequence[Row], template: KeyTemplate, plan: LoadPlan, now_ms: int) -> None:
        self._batch, self._plan = batch, plan
        self.bad = {place: BadRow(row.line, row.problem) for place, row in enumerate(batch) if row.problem is not None}
        self._fields = {name: self._texts(name, column) for name, column in self._columns(template).items()}
        self._times = [now_ms if plan.time_column is None else self._time(place) for place in range(len(batch))]
        self._keys = self._render(template)

    def good(self, *, until: int | None) -> list[int]:
        return [place for place in range(len(self._batch) if until is None else until) if place not in self.bad]

    async def write(self, writer: FeatureWriter, places: Sequence[int]) -> None:
        await writer.write(
            self._plan.prefix,
            [str(self._keys[place]) for place in places],
            {name: [texts[place] for place in places] for name, texts in self._fields.items()},
            [self._times[place] for place in places],
            expire_s=self._plan.expire_s,
        )

    def _columns(self, template: KeyTemplate) -> Mapping[str, str]:
        if self._plan.fields is not None:
            return self._plan.fields
        used = {part.path for part in template.parts} | {self._plan.time_column}
        names = dict.fromkeys(name for row in self._batch for name in row.values)
        return {name: name for name in names if name not in used}

    def _texts(self, name: str, column: str) -> list[str | None]:
        texts = self._column(column)
        if (wanted := self._plan.types.get(name)) is not None:
            cells = [None if text is None else text.encode() for text in texts]
            for place in np.flatnonzero(malformed_texts(cells, wanted)).tolist():
                self._refuse(place, f"has {column} {texts[place]!r}; expected {wanted}")
        return texts

    def _column(self, column: str) -> list[str | None]:
        texts: list[str | None] = []
        for place, row in enumerate(self._batch):
            try:
                texts.append(_text(row.values.get(column)))
            except (ValueError, TypeError) as error:
                texts.append(None)
                self._refuse(place, f"cannot be stored: {column}: {error}")
        return texts

    def _time(self, place: int) -> int:
        value = self._batch[place].values.get(str(self._plan.time_column))
        try:
            return time_ms(value, self._plan.time_unit)
        except ValueError as error:
            self._refuse(place, f"has no time: {self._plan.time_column} {error}")
            return 0

    def _render(self, template: KeyTemplate) -> list[str | None]:
        columns: dict[str, list[str | None] | NDArray[np.int64]] = {}
        for part in template.parts:
            if part.type == "time":
                cells = [row.values.get(part.path) for row in self._batch]
                columns[part.path] = np.array(
                    [self._key_time(place, cell) for place, cell in enumerate(cells)], np.int64
                )
            else:
                columns[part.path] = self._column(part.path)
        keys = template.render_columns(columns, len(self._batch))
        for place, key in enumerate(keys):
            if key is None:
                empty = [part.path for part in template.parts if self._batch[place].values.get(part.path) is None]
                self._refuse(place, f"has no key: {', '.join(empty) or template.text} is empty")
        return keys

    def _key_time(self, place: int, cell: Any) -> int:
        if cell is None:
            return MISSING_INTEGER
        try:
            return time_ms(cell, self._plan.time_unit)
        except ValueError as error:
            self._refuse(place, f"has no key: it {error}")
            return 0

    def _refuse(self, place: int, reason: str) -> None:
        self.bad.setdefault(place, BadRow(self._batch[place].line, reason))


def time_ms(value: Any, unit: str) -> int:
    """A time as Unix milliseconds: a number in `unit` (`ms` or `s`), a date, or ISO 8601 text, UTC without a zone.

    >>> time_ms("2013-03-01T05:00:00Z", "ms"), time_ms("1362114000.5", "s"), time_ms(1362114000000, "ms")
    (1362114000000, 1362114000500, 1362114000000)

    Raises ValueError, whose text goes on from the name of the column.
    """
    match value:
        case datetime():
            moment = value
        case date():
            moment = datetime(value.year, value.month, value.day, tzinfo=UTC)
        case bool() | None:
            raise ValueError(f"is {value!r}; expected a time")
        case _:
            try:
                number = float(value)
                milliseconds = number * (1000 if unit == "s" else 1)
                if not abs(milliseconds) < 2**53:
                    raise OverflowError
                return round(milliseconds)
            except OverflowError:
                raise ValueError(f"is {value!r}, which is no time in {unit}") from None
            except (ValueError, TypeError):
                pass  # no number: a text
            try:
                moment = datetime.fromisoformat(value)
            except (ValueError, TypeError):
                raise ValueError(f"is {value!r}; expected Unix {unit} or ISO 8601") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _text(value: Any) -> str | None:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict):
        raise ValueError("it is an object; expected a number, text or a list of numbers")
    text = field_text(float(value) if isinstance(value, Decimal) else value)
    if text is not None and not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("it is not UTF-8") from None
    return text


def _template(key: str) -> KeyTemplate:
    try:
        return KeyTemplate.parse(key if "{" in key else f"{{{key}}}")
    except ValueError as error:
        raise ConfigurationError(
            "the command line", "--key", found=str(error), expected="a column or a template, {origin}:{time:hour}"
        ) from error


def _check_columns(path: Path, columns: Sequence[str], template: KeyTemplate, plan: LoadPlan) -> None:
    def wanted() -> Iterator[tuple[str, str]]:
        yield from (("--key", part.path) for part in template.parts)
        yield from (("--field", column) for column in (plan.fields or {}).values())
        if plan.time_column is not None:
            yield "--time", plan.time_column

    for option, column in wanted():
        if column not in columns:
            raise ConfigurationError(
                "the command line", option, found=repr(column), expected=f"a column of {path}: {', '.join(columns)}"
            )
