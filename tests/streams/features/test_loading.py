from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import pytest_asyncio
import redis as redis_client

from penstock.schemas.columns import FeatureType
from penstock.schemas.errors import ConfigurationError, UnreachableError
from penstock.streams.features.loading import BadFeatureFile, BadRow, LoadPlan, load_features, time_ms
from penstock.streams.features.writer import FeatureWriter, HashesRefused

pytestmark = pytest.mark.redis

NOON = 1362139200
PLANES = "tailnum,seats,maker\nN1,55,BOEING\nN2,,AIRBUS\n"


@pytest_asyncio.fixture
async def writer(redis_url: str) -> AsyncIterator[FeatureWriter]:
    writer = FeatureWriter(redis_url)
    yield writer
    await writer.close()


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


MakeFile = Callable[[str, str | bytes], Path]


def held(redis: redis_client.Redis, key: str) -> dict[str, str]:
    return {field.decode(): text.decode() for field, text in redis.hgetall(key).items()}  # type: ignore[union-attr]


def noon() -> float:
    return NOON


AS_PARQUET = pa.table({"tailnum": ["N1", "N2"], "seats": [55, None], "maker": ["BOEING", "AIRBUS"]})


@pytest.mark.parametrize(
    "name", ["planes.csv", "planes.tsv", "planes.CSV.gz", "planes.ndjson", "planes.jsonl.gz", "planes.parquet"]
)
async def test_every_kind_of_file_gives_the_same_hashes(
    name: str, tmp_path: Path, file: MakeFile, writer: FeatureWriter, redis: redis_client.Redis
) -> None:
    rows = [{"tailnum": "N1", "seats": 55, "maker": "BOEING"}, {"tailnum": "N2", "seats": None, "maker": "AIRBUS"}]
    content = {
        ".csv": "\ufeff" + PLANES,
        ".tsv": PLANES.replace(",", "\t"),
        ".ndjson": "\n".join(map(json.dumps, rows)) + "\n\n",
        ".jsonl": "\n".join(map(json.dumps, rows)),
    }
    if name.endswith(".parquet"):
        path = tmp_path / name
        parquet.write_table(AS_PARQUET, path)
    else:
        text = content["." + name.lower().split(".")[1]].encode()
        path = file(name, gzip.compress(text) if name.endswith(".gz") else text)
    progress: list[tuple[int, int]] = []

    report = await load_features(
        path, writer, LoadPlan("plane", "tailnum"), now=noon, on_progress=lambda *step: progress.append(step)
    )

    assert held(redis, "plane:N1") == {"seats": "55", "maker": "BOEING", "_ts": str(NOON * 1000)}
    assert held(redis, "plane:N2") == {"maker": "AIRBUS", "_ts": str(NOON * 1000)}
    assert (report.rows, report.written, report.bad) == (2, 2, 0)
    assert progress[-1][0] == progress[-1][1] > 0


async def test_keys_from_templates_chosen_fields_and_times(
    file: MakeFile, writer: FeatureWriter, redis: redis_client.Redis
) -> None:
    path = file("weather.csv", "origin,hour,visib,temp\nJFK,2013-03-01T05:00:00Z,10,39.5\n")
    plan = LoadPlan("w", "{origin}:{hour:hour+1}", fields={"visibility": "visib"}, time_column="hour", expire_s=1000)

    await load_features(path, writer, plan)

    assert held(redis, "w:JFK:2013-03-01T06") == {"visibility": "10", "_ts": "1362114000000"}
    assert redis.keys() == [b"w:JFK:2013-03-01T06"]
    assert 990 <= int(redis.ttl("w:JFK:2013-03-01T06")) <= 1000


TYPES = {"seats": FeatureType("int"), "range": FeatureType("float"), "route": FeatureType("vector", 2)}


@pytest.mark.parametrize(
    ("name", "lines", "bad"),
    [
        (
            "planes.csv",
            "tailnum,seats,range,known\nN1,5,1.5,1\nN2,many,1,1\nN3,1\n,5,1,1\nN4,5,1e39,1\nN5,5,nan,1\n"
            'N6,5,1,yesterday\nN7,5,"1"2,1\nN8,5,1,1\n',
            [
                BadRow(3, "has seats 'many'; expected int"),
                BadRow(4, "has 2 cells; the header has 4"),
                BadRow(5, "has no key: tailnum is empty"),
                BadRow(6, "has range '1e39'; expected float"),
                BadRow(7, "has range 'nan'; expected float"),
                BadRow(8, "has no time: known is 'yesterday'; expected Unix ms or ISO 8601"),
                BadRow(9, "is no CSV: ',' expected after '\"'"),
            ],
        ),
        (
            "planes.ndjson",
            '{"tailnum":"N1","seats":5,"known":1}\n[1]\n{"tailnum":{"a":1},"known":1}\n'
            '{"tailnum":"N2","route":[1],"known":1}\n{"tailnum":"N3"}\n{"tailnum":"N8","route":[1,2.5],"known":1}\n',
            [
                BadRow(2, "is no JSON object"),
                BadRow(3, "cannot be stored: tailnum: it is an object; expected a number, text or a list of numbers"),
                BadRow(4, "has route '[1.0]'; expected vector(2)"),
                BadRow(5, "has no time: known is None; expected a time"),
            ],
        ),
    ],
)
async def test_bad_rows_are_reported_with_their_lines_and_the_others_are_loaded(
    name: str, lines: str, bad: list[BadRow], file: MakeFile, writer: FeatureWriter, redis: redis_client.Redis
) -> None:
    plan = LoadPlan("plane", "tailnum", types=TYPES, time_column="known")
    told: list[BadRow] = []

    report = await load_features(file(name, lines), writer, plan, on_bad_row=told.append)

    assert report.first_bad == told == bad
    assert (report.written, report.bad) == (2, len(bad))
    assert sorted(redis.keys()) == [b"plane:N1", b"plane:N8"]


async def test_bytes_that_are_no_utf8_make_a_bad_row(file: MakeFile, writer: FeatureWriter) -> None:
    path = file("planes.csv", b"tailnum,maker\nN1,\xff\n\xff,BOEING\nN2,Z\xc3\xbcrich\n")

    report = await load_features(path, writer, LoadPlan("plane", "tailnum"))

    assert [row.line for row in report.first_bad] == [2, 3]
    assert report.written == 1


async def test_strict_stops_at_the_first_bad_row(
    file: MakeFile, writer: FeatureWriter, redis: redis_client.Redis
) -> None:
    path = file("planes.csv", "tailnum,seats\nN1,1\nN2,2\n,3\nN4,4\n")

    with pytest.raises(BadFeatureFile, match=r"line 4 has no key: tailnum is empty. The 2 rows before it") as stop:
        await load_features(path, writer, LoadPlan("plane", "tailnum"), strict=True)

    assert (stop.value.row.line, stop.value.written) == (4, 2)
    assert sorted(redis.keys()) == [b"plane:N1", b"plane:N2"]


async def test_a_key_that_is_no_hash_is_a_bad_row(
    file: MakeFile, writer: FeatureWriter, redis: redis_client.Redis
) -> None:
    redis.rpush("plane:N1", "x")

    report = await load_features(file("planes.csv", PLANES), writer, LoadPlan("plane", "tailnum"))

    assert (report.written, report.bad) == (1, 1)
    assert report.first_bad[0].line == 2
    assert "WRONGTYPE" in report.first_bad[0].reason


@pytest.mark.parametrize(
    ("name", "content", "plan", "sentence"),
    [
        ("planes.xlsx", "", LoadPlan("p", "a"), "expected a name that ends in .csv"),
        ("planes.csv", "", LoadPlan("p", "a"), "without a header"),
        ("planes.csv", "a,a\n", LoadPlan("p", "a"), "two columns 'a'"),
        ("planes.csv", "a,b\n", LoadPlan("p", "tail"), "--key is 'tail'; expected a column of"),
        ("planes.csv", "a,b\n", LoadPlan("p", "a", fields={"x": "c"}), "--field is 'c'"),
        ("planes.csv", "a,b\n", LoadPlan("p", "a", time_column="t"), "--time is 't'"),
        ("planes.csv", "a,b\n", LoadPlan("p", "{a:week}"), "'week' is no unit"),
        ("planes.csv.gz", "a,b\n", LoadPlan("p", "a"), "unreadable"),
        ("planes.ndjson.gz", gzip.compress(b'{"a":1}\n' * 1000, mtime=0)[:-20], LoadPlan("p", "a"), "unreadable"),
        ("planes.parquet", "a,b\n", LoadPlan("p", "a"), "no Parquet"),
    ],
)
async def test_files_and_plans_that_cannot_be_used(
    name: str, content: str | bytes, plan: LoadPlan, sentence: str, file: MakeFile, writer: FeatureWriter
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        await load_features(file(name, content), writer, plan)

    assert sentence in str(refusal.value)


async def test_a_file_that_is_not_there(tmp_path: Path, writer: FeatureWriter) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        await load_features(tmp_path / "planes.csv", writer, LoadPlan("plane", "tailnum"))


async def test_large_files_go_in_batches(file: MakeFile, writer: FeatureWriter, redis: redis_client.Redis) -> None:
    path = file("planes.csv", "tailnum,seats\n" + "".join(f"N{i},{i}\n" for i in range(10_000)))

    report = await load_features(path, writer, LoadPlan("plane", "tailnum"))

    assert report.written == redis.dbsize() == 10_000
    assert held(redis, "plane:N9999")["seats"] == "9999"


async def test_a_missing_value_takes_the_old_one_away(writer: FeatureWriter, redis: redis_client.Redis) -> None:
    await writer.write("plane", ["N1"], {"seats": [5], "speed": [1.5], "maker": ["X"]}, [1000])
    await writer.write("plane", ["N1"], {"seats": [None], "speed": [float("nan")]}, [2000])

    assert held(redis, "plane:N1") == {"maker": "X", "_ts": "2000"}


async def test_one_refused_hash_does_not_stop_the_others(writer: FeatureWriter, redis: redis_client.Redis) -> None:
    redis.rpush("plane:N700", "x")
    keys = [f"N{i}" for i in range(2000)]

    with pytest.raises(HashesRefused) as refusal:
        await writer.write("plane", keys, {"seats": list(range(2000)), "speed": [None] * 2000}, [1] * 2000, expire_s=60)

    assert list(refusal.value.refused) == [700]
    assert redis.dbsize() == 2000
    await writer.write("plane", ["N1"], {"seats": [77]}, [1])
    assert held(redis, "plane:N1")["seats"] == "77"


async def test_what_cannot_be_written_is_refused_before_anything_is(
    writer: FeatureWriter, redis: redis_client.Redis
) -> None:
    for fields in ({"seats": [1.0, float("inf")]}, {"seats": [[1.0], [float("nan")]]}, {"seats": [1]}):
        with pytest.raises(ValueError, match=r"infinite|finite|2 keys but 1 values"):
            await writer.write("plane", ["N1", "N2"], fields, [1, 1])

    assert redis.dbsize() == 0


async def test_no_redis_is_a_sentence() -> None:
    writer = FeatureWriter("redis://127.0.0.1:1/0")

    with pytest.raises(UnreachableError, match=r"Redis at 127\.0\.0\.1:1 cannot be reached"):
        await writer.write("plane", ["N1"], {"seats": [1]}, [1])


def test_times_of_every_kind() -> None:
    moment = datetime(2013, 3, 1, 5, tzinfo=UTC)

    assert time_ms(moment, "ms") == time_ms("2013-03-01T05:00:00", "s") == time_ms(1362114000, "s") == 1362114000000
    assert time_ms(moment.date(), "ms") == time_ms("2013-03-01", "ms") == 1362096000000
    for wrong in ("soon", None, True, "nan", "1e300", [1]):
        with pytest.raises(ValueError, match="is "):
            time_ms(wrong, "ms")
