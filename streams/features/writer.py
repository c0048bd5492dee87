"""Writes many hashes fast: features for the look-ups, with the time at which they were known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from penstock.schemas.errors import PenstockError, UnreachableError
from penstock.streams.features.redis_hashes import RedisConnection, RedisOutage
from penstock.streams.features.values import TIME_FIELD
from penstock.streams.features.wire import Batch, Replies, errors, key_bytes, pack_command

Written = float | int | bool | str | Sequence[float] | None
"""What a field may be given; None and NaN: the hash has no such value (any more)."""

_BATCH_KEYS = 512


class HashesRefused(PenstockError):
    """Redis did not take some of the hashes; the others are written.

    >>> print(HashesRefused({3: ("plane:N1", "WRONGTYPE the key holds a list")}))
    Redis refused 1 hash, the first is plane:N1: WRONGTYPE the key holds a list.
    """

    def __init__(self, refused: Mapping[int, tuple[str, str]]) -> None:
        self.refused = dict(refused)
        """Position → (key, Redis's reason)."""
        key, reason = next(iter(self.refused.values()))
        hashes = "1 hash" if len(self.refused) == 1 else f"{len(self.refused)} hashes"
        super().__init__(f"Redis refused {hashes}, the first is {key}: {reason}.")


class FeatureWriter:
    """Hashes as the feature store reads them, by an own connection to Redis, many to a round trip.

    Args:
        url: As for `RedisFeatureStore`.
        username: Replaces the one in `url`.
        password: Replaces the one in `url`.

    Raises:
        ConfigurationError: `url` is no Redis URL.
    """

    def __init__(self, url: str, *, username: str | None = None, password: str | None = None) -> None:
        self._connection = RedisConnection(url, username=username, password=password)

    async def write(
        self,
        prefix: str,
        keys: Sequence[str],
        fields: Mapping[str, Sequence[Written]],
        written_ms: Sequence[int],
        *,
        expire_s: int | None = None,
    ) -> None:
        """Writes one hash `<prefix>:<key>` per key: the fields' values at its position, and `_ts`.

        None and NaN remove the field from the hash: it must not stay behind with a time that is not its own. Fields
        that are not named stay as they are. The values of a hash appear together.

        Args:
            prefix: The entity's.
            keys: A hash each.
            fields: Field → a value per key.
            written_ms: When each hash's values were known, Unix ms.
            expire_s: Redis forgets the hashes after so many seconds; None: an expiry stays as it is.

        Raises:
            ValueError: a number is infinite, a vector holds NaN, or the lengths differ. Nothing is written.
            HashesRefused: some keys hold something else, or Redis is out of memory; the others are written.
            UnreachableError: Redis is away or refuses the credentials; some hashes may be written.
        """
        columns = {name: [field_text(value) for value in values] for name, values in fields.items()}
        for name, column in (*columns.items(), (TIME_FIELD, written_ms)):
            if len(column) != len(keys):
                raise ValueError(f"{len(keys)} keys but {len(column)} values of {name}")
        refused: dict[int, tuple[str, str]] = {}
        owners: list[int] = []
        """The hash that each reply is about, in the order of the commands."""
        answered = 0

        def batches() -> Iterator[Batch]:
            for start in range(0, len(keys), _BATCH_KEYS):
                commands: list[bytes] = []
                for position in range(start, min(start + _BATCH_KEYS, len(keys))):
                    row = [(name, column[position]) for name, column in columns.items()]
                    packed = _commands(key_bytes(prefix, keys[position]), row, written_ms[position], expire_s)
                    commands += packed
                    owners.extend([position] * len(packed))
                yield Batch(b"".join(commands), len(commands))

        def receive(replies: Replies) -> None:
            nonlocal answered
            for place, error in errors(replies):
                position = owners[answered + place]
                refused.setdefault(position, (f"{prefix}:{keys[position]}", str(error)))
            answered += len(replies)

        try:
            if not self._connection.connected:
                await self._connection.connect()
            await self._connection.exchange(batches(), receive)
        except RedisOutage as outage:
            raise UnreachableError("Redis", self._connection.address, outage.reason, fix="Check redis.url.") from outage
        if refused:
            raise HashesRefused(refused)

    async def close(self) -> None:
        await self._connection.disconnect()


def _commands(name: bytes, row: Sequence[tuple[str, str | None]], written_ms: int, expire_s: int | None) -> list[bytes]:
    gone = [field for field, text in row if text is None]
    values: list[str | int] = []
    for field, text in row:
        if text is not None:
            values += (field, text)
    commands = [pack_command(("HDEL", name, *gone))] if gone else []
    commands.append(pack_command(("HSET", name, *values, TIME_FIELD, int(written_ms))))
    if expire_s is not None:
        commands.append(pack_command(("EXPIRE", name, expire_s)))
    return commands


def field_text(value: Written) -> str | None:
    """A value as the field's text; None where it is missing.

    >>> [field_text(value) for value in (1.5, 3, True, "JFK", [1.0, 2.0], None, float("nan"))]
    ['1.5', '3', '1', 'JFK', '[1.0,2.0]', None, None]

    Raises ValueError for an infinity, and for a NaN inside a vector.
    """
    match value:
        case None:
            return None
        case str():
            return value
        case bool():
            return "1" if value else "0"
        case int():
            return str(int(value))
        case float():
            if math.isinf(value):
                raise ValueError("a feature cannot be infinite")
            return None if math.isnan(value) else repr(float(value))
    elements = [float(element) for element in value]
    if not all(map(math.isfinite, elements)):
        raise ValueError("a vector's elements must be finite")
    return msgspec.json.encode(elements).decode()
