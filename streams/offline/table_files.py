"""A CSV, NDJSON or Parquet file as one Arrow table, its columns' types inferred from the whole of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from penstock.schemas.errors import ConfigurationError

_ENDINGS = ".csv, .tsv, .ndjson, .jsonl (each also with .gz) or .parquet"
_MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "#N/A"]
_MAX_BLOCK = 2**31 - 1
"""Arrow infers the types of a text file from its first block: a larger file must not change its mind after so many."""


def read_table(path: Path) -> Any:
    """The pyarrow.Table in a file, in file order. Empty cells, NA, NaN, null and None are missing.

    Raises ConfigurationError when the file is not there, has another ending, or cannot be read.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = "".join(suffixes[-2:-1] if packed else suffixes[-1:])
    if not path.is_file():
        raise _unusable(path, "not there", "a file to read")
    try:
        match kind:
            case ".csv" | ".tsv":
                table = _read_csv(path, "\t" if kind == ".tsv" else ",", packed)
            case ".ndjson" | ".jsonl":
                table = _read_ndjson(path, packed)
            case ".parquet" if not packed:
                from pyarrow import parquet

                table = parquet.read_table(path)
            case _:
                raise _unusable(path, f"named {path.name!r}", f"a name that ends in {_ENDINGS}")
    except OSError as error:
        raise _unusable(
            path, f"unreadable ({error.strerror or error})", "a file that can be read to its end"
        ) from error
    except pa.ArrowInvalid as error:
        reason = " ".join(str(error).split())
        raise _unusable(path, f"no {kind[1:]} table ({reason})", "a table with a name over each column") from error
    names = table.column_names
    if (twice := next((name for name in names if names.count(name) > 1), None)) is not None:
        raise _unusable(path, f"a table with two columns {twice!r}", "names of columns that differ")
    return table


def _read_csv(path: Path, delimiter: str, packed: bool) -> Any:
    from pyarrow import csv

    with pa.input_stream(path, compression="gzip" if packed else None) as stream:
        return csv.read_csv(
            stream,
            read_options=csv.ReadOptions(block_size=_block_size(path, packed)),
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(null_values=_MISSING, strings_can_be_null=True),
        )


def _read_ndjson(path: Path, packed: bool) -> Any:
    from pyarrow import json

    with pa.input_stream(path, compression="gzip" if packed else None) as stream:
        return json.read_json(stream, read_options=json.ReadOptions(block_size=_block_size(path, packed)))


def _block_size(path: Path, packed: bool) -> int:
    """The whole file, as text compresses to a fiftieth at most."""
    return min(max(path.stat().st_size, 1) * (50 if packed else 1) + 1, _MAX_BLOCK)


def _unusable(path: Path, found: str, expected: str) -> ConfigurationError:
    return ConfigurationError(str(path), "the file", found=found, expected=expected)
