"""From a valid input to one that never was: by bits, by fields of a document, and by columns of an Arrow batch."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pyarrow as pa

LENGTHS = (0, 1, 2, 7, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
TOKENS = (
    b"[", b"]", b"{", b"}", b'"', b":", b",", b"null", b"true", b"NaN", b"-Infinity", b"1e400", b"-0.0", b"1" * 400,
    b"9223372036854775808", b"0." + b"0" * 300 + b"1", b"\\ud800", b"\\ud800\\u0041", b"\\udc00", b"\\u0000", b"\\x",
    b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\x00", b"\n", b"/*", b"\xc1",
    b"\xde\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
    b"\xd6\xff\x00\x00\x00\x00",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2, 64, 255, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 0.5, -0.0, 1e-300, 3.5e38,
    1e308, float("nan"), float("inf"), -float("inf"),
)  # fmt: skip
TEXTS = (
    "", "x", "\0", "naïve ✈", "😀" * 3, "x" * 3000, "0", "-1", "NaN", "delay@0", "2013-03-01T05:00:00Z",
    "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2013-02-30", "<i8", "|u1", "<f4", "<u8", "|b1", "|O",
    "champion", "fallback", "served", "candidate",
)  # fmt: skip
DEPTHS = (3, 50, 2_000, 100_000)


def in_bytes(rng: random.Random, value: bytes, others: Sequence[bytes]) -> bytes:
    """One to four changes anywhere: bits, lengths, cuts, splices with another input, repeats, tokens of the formats."""
    data = bytearray(value)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, end = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
        match rng.randrange(9):
            case 0:
                for _ in range(rng.choice((1, 1, 8)) if data else 0):
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:]
            case 2:
                del data[at : min(end, at + rng.choice((1, 4, 64)))]
            case 3:
                data[at:at] = rng.choice(TOKENS)
            case 4:
                other = rng.choice(others)
                data[at:] = other[rng.randint(0, len(other)) :]
            case 5:
                data[at:at] = data[at : min(end, at + 300)] * rng.choice((1, 3, 20))
            case 6:
                size = rng.choice((1, 2, 4, 8))
                at -= at % size if rng.random() < 0.5 else 0
                if at + size <= len(data):
                    length = rng.choice(LENGTHS) % 256**size
                    data[at : at + size] = length.to_bytes(size, rng.choice(("little", "big")))
            case 7:
                data[at : at + 16] = rng.randbytes(rng.choice((1, 16)))
            case _:
                data[at:at] = rng.choice((b"[", b'{"a":', b"\x91", b"\x81\xa1a")) * rng.choice(DEPTHS)
    return bytes(data)


def in_fields(rng: random.Random, document: Any) -> Any:
    """A copy in which one to three fields hold something else, have gone, or stand twice."""
    changed = [document]
    for _ in range(rng.choice((1, 1, 2, 3))):
        holder, key = rng.choice(list(_places(changed)))
        match rng.randrange(8):
            case 0 | 1:
                new: Any = rng.choice(NUMBERS)
            case 2:
                new = rng.choice(TEXTS)
            case 3:
                new = rng.choice((None, True, False, [], {}, [None], {"": None}))
            case 4:
                new = [holder[key]] * rng.choice((1, 2, 100))
            case 5:
                new = rng.choice([other[name] for other, name in _places(changed)])
            case 6 if holder is not changed:
                changed = [_without(changed[0], holder, key)]
                continue
            case _:
                new = {"unknown": holder[key], **(holder[key] if isinstance(holder[key], dict) else {})}
        changed = [_with(changed[0], holder, key, new)] if holder is not changed else [new]
    return changed[0]


def in_json(rng: random.Random, value: bytes, others: Sequence[bytes]) -> bytes:
    """By bytes or by fields; numbers may be what JSON does not know."""
    if rng.random() < 0.4:
        return in_bytes(rng, value, others)
    changed = json.dumps(in_fields(rng, json.loads(value)), ensure_ascii=rng.random() < 0.5).encode()
    if rng.random() < 0.05:
        depth = rng.choice(DEPTHS)
        opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
        deep = b'{"unknown":' + opening * depth + b"1" + closing * depth
        return deep + (b"," + changed[1:] if changed.startswith(b"{") and len(changed) > 2 else b"}")
    return changed


def in_msgpack(rng: random.Random, value: bytes, others: Sequence[bytes]) -> bytes:
    """By bytes or by fields."""
    if rng.random() < 0.4:
        return in_bytes(rng, value, others)
    changed = in_fields(rng, msgspec.msgpack.decode(value))
    encoded = msgspec.msgpack.encode(changed)
    if rng.random() < 0.05 and isinstance(changed, dict) and len(changed) < 15:
        deep = rng.choice((b"\x91", b"\x81\xa1a")) * rng.choice(DEPTHS) + b"\xc0"
        return bytes([encoded[0] + 1]) + b"\xa7unknown" + deep + encoded[1:]
    return encoded


def in_arrow(rng: random.Random, value: bytes, others: Sequence[bytes]) -> bytes:
    """By bytes, of the stream as it was compressed or without compression; or by columns, as another writer could."""
    if rng.random() < 0.35:
        return in_bytes(rng, value, others)
    try:
        return _in_columns(rng, value, others)
    except pa.ArrowException:  # Arrow itself would not take or write such columns
        return in_bytes(rng, value, others)


def _in_columns(rng: random.Random, value: bytes, others: Sequence[bytes]) -> bytes:
    with pa.ipc.open_stream(value) as reader:
        batch = reader.read_next_batch()
    if rng.random() < 0.3:
        return in_bytes(rng, _stream([batch], rng), others)
    names, arrays = list(batch.schema.names), list(batch.columns)
    metadata: dict[bytes, bytes] | None = dict(batch.schema.metadata)
    batches = 1
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(arrays))
        match rng.randrange(9):
            case 0 | 1 | 2:
                arrays[at] = _odd_column(rng, batch.num_rows)
            case 3:
                arrays[at] = arrays[at].take(
                    pa.array([rng.choice((row, None)) for row in range(batch.num_rows)], pa.int64())
                )
            case 4 if len(arrays) > 1:
                del names[at], arrays[at]
            case 5:
                names[at] = rng.choice(names)
            case 6:
                metadata = {b"penstock": in_json(rng, batch.schema.metadata[b"penstock"], others)}
            case 7:
                metadata = rng.choice((None, {}, {b"penstock": b""}, {b"penstock": b"{}"}))
            case _:
                batches = rng.choice((0, 2))
    if rng.random() < 0.005:  # no bytes hold any number of nulls
        arrays = [pa.nulls(rng.choice((0, 10**6, 2**28)))] * len(arrays)
    lengths = {len(array) for array in arrays}
    whole = pa.RecordBatch.from_arrays(
        [array.slice(0, min(lengths)) for array in arrays],
        schema=pa.schema([pa.field(n, a.type) for n, a in zip(names, arrays, strict=True)], metadata),
    )
    return _stream([whole] * batches, rng, whole.schema)


def _odd_column(rng: random.Random, rows: int) -> Any:
    numbers = [rng.choice((0, 1, 100, 127)) for _ in range(rows)]
    kind = rng.choice(_ODD_COLUMNS)
    return kind(numbers)


def _dictionary(values: Any) -> Callable[[list[int]], Any]:
    return lambda numbers: pa.DictionaryArray.from_arrays(pa.array([0 for _ in numbers], pa.int8()), values)


def _typed(kind: Any) -> Callable[[list[int]], Any]:
    return lambda numbers: pa.array(numbers, kind)


_ODD_COLUMNS: tuple[Callable[[list[int]], Any], ...] = (
    lambda numbers: pa.nulls(len(numbers)),
    *map(_typed, (pa.int8(), pa.uint64(), pa.int64(), pa.float32(), pa.float64(), pa.timestamp("ms"), pa.date32())),
    lambda numbers: pa.array([number > 0 for number in numbers]),
    lambda numbers: pa.array(list(map(str, numbers))),
    lambda numbers: pa.array(list(map(str, numbers)), pa.large_string()),
    lambda numbers: pa.array(list(map(str, numbers)), pa.string_view()),
    lambda numbers: pa.array([bytes([number]) for number in numbers], pa.binary()),
    lambda numbers: pa.array([b"" for _ in numbers], pa.binary(0)),
    lambda numbers: pa.array([b"abc" for _ in numbers], pa.binary(3)),
    lambda numbers: pa.array([[number] * (number % 3) for number in numbers], pa.list_(pa.float32())),
    lambda numbers: pa.array([[] for _ in numbers], pa.list_(pa.float32(), 0)),
    lambda numbers: pa.array([[number, None] for number in numbers], pa.list_(pa.float32(), 2)),
    lambda numbers: pa.array([[number] * 3 for number in numbers], pa.list_(pa.int64(), 3)),
    lambda numbers: pa.array([{"a": number} for number in numbers], pa.struct([("a", pa.int8())])),
    lambda numbers: pa.RunEndEncodedArray.from_arrays(pa.array([len(numbers)], pa.int32()), pa.array(["x"])),
    _dictionary(pa.array([7])),
    _dictionary(pa.array([None, "x"], pa.string())),
    _dictionary(pa.array([b"\xff"], pa.binary())),
    _dictionary(pa.array(["x", "x"])),
)


def _stream(batches: Sequence[Any], rng: random.Random, schema: Any = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=rng.choice((None, "lz4", "zstd")), use_threads=False)
    with pa.ipc.new_stream(sink, schema or batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _places(node: Any) -> list[tuple[Any, Any]]:
    """(holder, key or index) of every field, at most 200 of them."""
    found: list[tuple[Any, Any]] = []
    waiting = [node]
    while waiting and len(found) < 200:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        found.extend((holder, key) for key in keys)
        waiting.extend(holder[key] for key in keys if isinstance(holder[key], (dict, list)))
    return found


def _with(node: Any, holder: Any, key: Any, new: Any) -> Any:
    """A copy of the document, by identity of the holder."""
    if isinstance(node, dict):
        return {
            name: new if node is holder and name == key else _with(each, holder, key, new)
            for name, each in node.items()
        }
    if isinstance(node, list):
        return [new if node is holder and at == key else _with(each, holder, key, new) for at, each in enumerate(node)]
    return node


def _without(node: Any, holder: Any, key: Any) -> Any:
    if isinstance(node, dict):
        return {
            name: _without(each, holder, key) for name, each in node.items() if not (node is holder and name == key)
        }
    if isinstance(node, list):
        return [_without(each, holder, key) for at, each in enumerate(node) if not (node is holder and at == key)]
    return node
