"""An input as the transport would hand it over, and what a reader says to it."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from penstock.schemas.errors import PenstockError
from penstock.schemas.records import CHECKSUM_HEADER

Header = tuple[str, bytes | None]
Mutator = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


class Message(msgspec.Struct, array_like=True):
    """One record of a topic, with what its readers look at."""

    value: bytes | None
    headers: list[Header] = []
    key: bytes | None = None
    offset: int = 0
    timestamp: int = 1_357_034_400_000
    topic: str = "flights.fuzz"


Case = list[Message]


class Wrong(AssertionError):
    """A reader gave something, and it is not what it promises."""


class Target(Protocol):
    """A reader of bytes from the bus."""

    name: str
    share: float
    """Of all inputs."""
    width: int
    """Mutated inputs of a case."""

    def case(self, rng: random.Random) -> Case: ...

    def read(self, case: Case) -> int:
        """How many inputs were accepted; the others were refused as they should be. Anything else raises."""
        ...


@dataclass
class Records:
    """A reader of one record at a time: `read` gives a value that stands a use, or raises `refusal`."""

    name: str
    share: float
    seeds: Sequence[Message]
    mutate: Mutator
    consume: Callable[[Message], object]
    refusal: type[PenstockError]
    width: int = 1

    def case(self, rng: random.Random) -> Case:
        seed = rng.choice(self.seeds)
        others = [other.value or b"" for other in self.seeds]
        value: bytes | None = self.mutate(rng, seed.value or b"", others)
        headers = list(seed.headers)
        draw = rng.random()
        if draw < 0.01:
            value = None
        if draw > 0.1:  # what stands behind the checksum shall be reached
            headers = [
                (name, b"%08x" % zlib.crc32(value or b"")) if name == CHECKSUM_HEADER else (name, content)
                for name, content in headers
            ]
        if headers and rng.random() < 0.03:
            at = rng.randrange(len(headers))
            name, content = headers[at]
            headers[at] = (name, rng.choice((None, b"", b"\xff", (content or b"") + b"1", b"0" * 5000)))
        return [msgspec.structs.replace(seed, value=value, headers=headers)]

    def read(self, case: Case) -> int:
        [message] = case
        try:
            self.consume(message)
        except self.refusal:
            return 0
        return 1
