"""What a person asked of a table, checked: each mistake is one sentence with the fix."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from penstock.schemas.errors import ConfigurationError
from penstock.streams.offline.outcomes import Outcomes, outcomes_of
from penstock.streams.offline.table_columns import times_of

_FEWEST_SEGMENTS = 50
SEGMENTS = 200
"""Of the reference, where it is long enough: so many tell autocorrelation from noise."""
_FEWEST_ROWS, _LEAST_USUAL_ROWS, _USUAL_ROWS, _MOST_ROWS = 16, 50, 512, 65_535


def arrow_table(table: Any) -> Any:
    if isinstance(table, pa.Table):
        return table
    if isinstance(table, Mapping):
        return pa.table({name: pa.array(values) for name, values in table.items()})
    return pa.Table.from_pandas(table, preserve_index=False)


def with_reference(table: Any, reference: int | Any, place: str) -> tuple[Any, int, int]:
    """The reference and what follows as one table, rows of the reference, and rows of `table` before what follows."""
    if isinstance(reference, int):
        if not 0 < reference < table.num_rows:
            rows = table.num_rows
            raise ConfigurationError(
                place, "reference", found=f"{reference} rows", expected=f"fewer than its {rows}",
                fix="Some rows must follow the reference.",
            )  # fmt: skip
        return table, reference, reference
    first = arrow_table(reference)
    both = [name for name in table.column_names if name in first.column_names]
    try:
        whole = pa.concat_tables([first.select(both), table.select(both)], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        found = f"of other types ({' '.join(str(error).split())})"
        raise ConfigurationError(place, "reference", found=found, expected="the table's types") from error
    return whole, first.num_rows, 0


def check_columns(
    table: Any, place: str, *, label: str | None, prediction: str | None, time: str | None, ignore: Collection[str]
) -> None:
    names = {"label": label, "prediction": prediction, "time": time}
    wanted = [(option, name) for option, name in names.items() if name is not None]
    for option, name in [*wanted, *(("ignore", name) for name in ignore)]:
        if name not in table.column_names:
            expected = f"one of its columns ({', '.join(table.column_names)})"
            raise ConfigurationError(place, option, found=repr(name), expected=expected)
    if (label is None) != (prediction is None):
        given, other = ("label", "prediction") if prediction is None else ("prediction", "label")
        raise ConfigurationError(place, other, found=None, expected=f"a column beside {given} {names[given]!r}")


def check_something_is_watched(watched: Collection[str | None], left_out: Mapping[str, str], place: str) -> None:
    """Raises ConfigurationError, with the reasons, when no column is left."""
    if not watched:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items()) or "all are ignored"
        raise ConfigurationError(
            place, "columns", found=f"left out ({reasons})", expected="at least one of numbers, booleans or categories"
        )


def segment_rows_for(wanted: int | None, reference_rows: int, place: str) -> int:
    """The rows of a segment: those that are wanted where they do, or a 200th of the reference, within bounds."""
    most = min(reference_rows // _FEWEST_SEGMENTS, _MOST_ROWS)
    if most < _FEWEST_ROWS:
        raise ConfigurationError(
            place, "reference", found=f"{reference_rows} rows", expected=f"{_FEWEST_SEGMENTS * _FEWEST_ROWS} or more",
            fix="With fewer, drift cannot be told from chance.",
        )  # fmt: skip
    if wanted is None:
        return int(np.clip(reference_rows // SEGMENTS, min(_LEAST_USUAL_ROWS, most), _USUAL_ROWS))
    if not _FEWEST_ROWS <= wanted <= most:
        raise ConfigurationError(
            place, "segment", found=f"{wanted} rows", expected=f"{_FEWEST_ROWS} to {most}",
            fix=f"A reference of {reference_rows} rows must make {_FEWEST_SEGMENTS} segments or more.",
        )  # fmt: skip
    return wanted


def outcomes_in(table: Any, label: str | None, prediction: str | None, place: str) -> Outcomes | None:
    """How the model did, where both columns are named."""
    if label is None or prediction is None:
        return None
    try:
        return outcomes_of(*(table.column(name).combine_chunks() for name in (label, prediction)))
    except ValueError as error:
        raise ConfigurationError(
            place, "prediction", found=f"{prediction!r}, which does not fit label {label!r}: {error}",
            expected="both classes, or both numbers",
        ) from error  # fmt: skip


def times_in(table: Any, time: str, place: str) -> NDArray[np.int64]:
    try:
        return times_of(table.column(time).combine_chunks())
    except ValueError as error:
        expected = "timestamps, dates, ISO 8601 strings, or Unix seconds or milliseconds"
        raise ConfigurationError(place, "time", found=f"{time!r}, {error}", expected=expected) from error
