from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from penstock.schemas.errors import ConfigurationError
from penstock.streams.offline.table_files import read_table

ROWS = {"price": [1.5, None, 2.0], "airport": ["JFK", "LGA", None]}


def test_every_format_gives_the_same_table(tmp_path: Path) -> None:
    csv = "price,airport\n1.5,JFK\nNA,LGA\n2.0,\n"
    (tmp_path / "rows.csv").write_text(csv)
    (tmp_path / "rows.tsv").write_text(csv.replace(",", "\t"))
    with gzip.open(tmp_path / "rows.csv.gz", "wt") as file:
        file.write(csv)
    (tmp_path / "rows.ndjson").write_text(
        '{"price": 1.5, "airport": "JFK"}\n{"airport": "LGA"}\n{"price": 2.0, "airport": null}\n'
    )
    parquet.write_table(pa.table(ROWS), tmp_path / "rows.parquet")

    for path in sorted(tmp_path.iterdir()):
        assert read_table(path).to_pydict() == ROWS, path


def test_a_type_is_that_of_the_whole_column(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("price\n" + "1\n" * 500_000 + "1.5\n")

    assert read_table(file).column("price").type == pa.float64()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.csv", None, "is not there"),
        ("rows.xlsx", "x", "a name that ends in .csv"),
        ("empty.csv", "", "is no csv table (Empty CSV file)"),
        ("ragged.csv", "a,b\n1,2\n3\n", "Expected 2 columns, got 1: 3"),
        ("twice.csv", "a,a\n1,2\n", "two columns 'a'"),
        ("broken.ndjson", "{\n", "is no ndjson table"),
        ("broken.parquet", "x", "is no parquet table"),
        ("broken.csv.gz", "x", "unreadable"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)

    with pytest.raises(ConfigurationError) as refused:
        read_table(file)

    assert message in str(refused.value)
