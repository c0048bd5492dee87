"""Readers of bytes that do what none may do."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fuzz_suite.inputs import Case, Target


class Crashing:
    """Kills its process at an input of 0, raises at 1, and accepts the others."""

    name = "crashing"
    share = 1.0
    width = 1

    def case(self, rng: random.Random) -> Case:
        from fuzz_suite.inputs import Message  # the benchmarks' folder is on the path of those tests alone

        return [Message(bytes([rng.randrange(6)]))]

    def read(self, case: Case) -> int:
        match case[0].value:
            case b"\0":
                os.kill(os.getpid(), signal.SIGSEGV)
            case b"\1":
                raise KeyError("no such thing")
        return 1


class Leaking(Crashing):
    """Keeps a MB of every input."""

    name = "leaking"

    def __init__(self) -> None:
        self._kept: list[bytes] = []

    def read(self, case: Case) -> int:
        self._kept.append(b"x" * 1_000_000)
        return 1


def targets() -> Mapping[str, Target]:
    return {"crashing": Crashing(), "leaking": Leaking()}
