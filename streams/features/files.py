"""Rows of a CSV, NDJSON or Parquet file, one at a time, with their line numbers; a bad line is a value among them."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from penstock.schemas.errors import ConfigurationError

_ENDINGS = ".csv, .tsv, .ndjson, .jsonl (each also with .gz) or .parquet"
_PARQUET_ROWS = 4096
_UNREADABLE = (OSError, EOFError, zlib.error)


class Row(NamedTuple):
    """One row, or what is wrong with it."""

    line: int
    """Counted from 1; in Parquet, the row."""
    values: dict[str, Any]
    problem: str | None = None


class FeatureFile:
    """A file of rows, read by the ending of its name. Use it as a context manager and iterate once.

    `total` and `done` count bytes of the file, or rows in Parquet, for a progress bar. `columns` are the names in its
    header; None for NDJSON, whose rows name their own.

    Raises ConfigurationError when the file is not there, is of no kind named here, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: tuple[str, ...] | None = None
        self.total = 0
        self.done = 0
        self._closing = ExitStack()
        suffixes = [suffix.lower() for suffix in path.suffixes]
        self._packed = suffixes[-1:] == [".gz"]
        self._kind = "".join(suffixes[-2:-1] if self._packed else suffixes[-1:])

    def __enter__(self) -> FeatureFile:
        try:
            match self._kind:
                case ".csv" | ".tsv":
                    self._rows = self._csv("\t" if self._kind == ".tsv" else ",")
                case ".ndjson" | ".jsonl":
                    self._rows = self._ndjson()
                case ".parquet" if not self._packed:
                    self._rows = self._parquet()
                case _:
                    raise self._unusable(f"named {self.path.name!r}", f"a name that ends in {_ENDINGS}")
        except BaseException as error:
            self._closing.close()
            if isinstance(error, _UNREADABLE):
                raise self._unreadable(error) from error
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def __iter__(self) -> Iterator[Row]:
        try:
            yield from self._rows
        except _UNREADABLE as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> ConfigurationError:
        words = getattr(error, "strerror", None) or error
        return self._unusable(f"unreadable ({words})", "a file that can be read to its end")

    def _unusable(self, found: str, expected: str) -> ConfigurationError:
        return ConfigurationError(str(self.path), "the file", found=found, expected=expected)

    def _lines(self) -> io.TextIOWrapper:
        """The file's text; bytes that are no UTF-8 stand in it as surrogates."""
        self._raw = self._closing.enter_context(self.path.open("rb"))
        self.total = self.path.stat().st_size
        plain = self._closing.enter_context(gzip.GzipFile(fileobj=self._raw)) if self._packed else self._raw
        text = io.TextIOWrapper(plain, encoding="utf-8-sig", errors="surrogateescape", newline="")
        return self._closing.enter_context(text)

    def _csv(self, delimiter: str) -> Iterator[Row]:
        reader = csv.reader(self._lines(), delimiter=delimiter, strict=True)
        try:
            header = next(reader)
        except (StopIteration, csv.Error) as error:
            raise self._unusable("without a header", "names of columns in its first line") from error
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise self._unusable(f"a table with two columns {twice!r}", "names of columns that differ")
        self.columns = tuple(header)
        return self._csv_rows(reader, header)

    def _csv_rows(self, reader: Any, header: Sequence[str]) -> Iterator[Row]:
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(reader.line_num, {}, f"is no CSV: {error}")
                continue
            self.done = self._raw.tell()
            if not cells:
                continue
            problem = None
            if len(cells) != len(header):
                problem = f"has {len(cells)} cells; the header has {len(header)}"
            values: dict[str, Any] = {name: cell or None for name, cell in zip(header, cells, strict=False)}
            yield Row(reader.line_num, values, problem)

    def _ndjson(self) -> Iterator[Row]:
        return self._ndjson_rows(self._lines())

    def _ndjson_rows(self, lines: io.TextIOWrapper) -> Iterator[Row]:
        for number, line in enumerate(lines, start=1):
            self.done = self._raw.tell()
            if not line.strip():
                continue
            try:
                values = msgspec.json.decode(line.encode())
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                yield Row(number, {}, f"is no JSON: {error}")
                continue
            if isinstance(values, dict):
                yield Row(number, values)
            else:
                yield Row(number, {}, "is no JSON object")

    def _parquet(self) -> Iterator[Row]:
        import pyarrow as arrow
        from pyarrow import parquet

        raw = self._closing.enter_context(self.path.open("rb"))
        try:
            table = parquet.ParquetFile(raw)
        except arrow.ArrowInvalid as error:
            raise self._unusable("no Parquet", "a Parquet file") from error
        self.columns = tuple(table.schema_arrow.names)
        self.total = table.metadata.num_rows
        return self._parquet_rows(table)

    def _parquet_rows(self, table: Any) -> Iterator[Row]:
        for batch in table.iter_batches(batch_size=_PARQUET_ROWS):
            for values in batch.to_pylist():
                self.done += 1
                yield Row(self.done, values)
