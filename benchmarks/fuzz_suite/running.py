"""Cases in a process of their own, which may crash or hang: what it was at stands in memory that outlives it."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import random
import resource
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from fuzz_suite.inputs import Case, Target

SLOW_S = 2.0
"""CPU seconds of a case from which on it is a finding."""
HANG_S = 30.0
"""Seconds on the wall after which the process is killed; the machine may be busy with others."""
MEMORY_LIMIT = 4 << 30
"""Bytes of address space that the process may take beside what it has when it starts to read."""
SETTLES_MB = 16.0
"""So much memory may a target's readers take after its first batch, once: caches, and the allocator's own."""
GROWTH_MB = 16.0
"""So much more they may take for a million inputs."""
_spawn = multiprocessing.get_context("spawn")

Factory = Callable[[], Mapping[str, Target]]


@dataclass(frozen=True)
class Finding:
    """What a reader did that it must not do."""

    target: str
    number: int
    what: str


@dataclass
class Tally:
    """What became of a target's inputs."""

    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    slowest_ms: float = 0.0
    resident: list[int] = field(default_factory=list)
    """Bytes after each batch; 0 where a new process began."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def growth_mb(self) -> float:
        """Of resident memory since the first batch, over all processes."""
        pairs = zip(self.resident, self.resident[1:], strict=False)
        return sum(after - before for before, after in pairs if before and after) / 1e6

    @property
    def may_grow_mb(self) -> float:
        return SETTLES_MB + GROWTH_MB * self.inputs / 1e6

    @property
    def leaks(self) -> bool:
        """
        >>> [Tally(1000, resident=[0, 100_000_000, end]).leaks for end in (110_000_000, 120_000_000)]
        [False, True]
        """
        return self.growth_mb > self.may_grow_mb


def targets() -> dict[str, Target]:
    """Every reader of bytes from the bus, by name."""
    from fuzz_suite import blocks, documents, windows  # here: what is to die may not wait for all of them

    found: Sequence[Target] = (*windows.events(), windows.labels(), *blocks.targets(), *documents.targets())
    return {target.name: target for target in found}


def case_of(target: Target, seed: int, number: int) -> Case:
    """The case with this number: always the same."""
    return target.case(random.Random(f"{seed} {target.name} {number}"))


class Runner:
    """Reads the cases of one target after the other, in one process as long as that lives. A context manager.

    `factory` builds the targets anew in each process.
    """

    def __init__(self, seed: int, factory: Factory = targets) -> None:
        self._seed, self._factory = seed, factory
        self._child: _Child | None = None

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.close()

    def run(self, target: Target, cases: int, batch: int) -> Iterator[Tally]:
        """The tally of a target after every batch of its cases; the same object each time."""
        tally = Tally()
        for start in range(0, cases, batch):
            first, stop = start, min(start + batch, cases)
            while first < stop:
                if self._child is None:
                    self._child = _Child(self._seed, self._factory)
                    tally.resident.append(0)
                died = self._child.work(target.name, first, stop, tally)
                if died is None:
                    break
                tally.findings.append(Finding(target.name, *died))
                self._child.close()
                first, self._child = died[0] + 1, None
            tally.inputs = stop * target.width
            yield tally


class _Child:
    """One process; reads what it is told until it dies or is closed."""

    def __init__(self, seed: int, factory: Factory) -> None:
        self._progress: Any = _spawn.RawArray("d", 5)
        self._ours, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_serve, args=(theirs, self._progress, seed, factory), daemon=True)
        self._process.start()
        theirs.close()
        self._ours.recv()  # it has imported and built everything

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._ours.close()

    def work(self, target: str, first: int, stop: int, tally: Tally) -> tuple[int, str] | None:
        """Adds the cases to the tally. The case at which the process died and how, or None."""
        progress = self._progress
        progress[:] = (first, time.monotonic(), 0, 0, 0)
        self._ours.send((target, first, stop))
        died = None
        while died is None:
            try:
                if self._ours.poll(0.5):
                    said = self._ours.recv()
                    if isinstance(said, int):
                        tally.resident.append(said)
                        break
                    tally.findings.append(Finding(target, *said))
                    continue
            except (EOFError, ConnectionResetError):
                self._process.join()
                died = int(progress[0]), f"the process died: exit status {self._process.exitcode}"
            if died is None and time.monotonic() - progress[1] > HANG_S:
                died = int(progress[0]), f"it hangs: no end after {HANG_S:g} s"
                self._process.kill()
        tally.refused += int(progress[2])
        tally.accepted += int(progress[3])
        tally.slowest_ms = max(tally.slowest_ms, 1000 * progress[4])
        return died


def _serve(pipe: Any, progress: Any, seed: int, factory: Factory = targets) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    every = factory()
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_LIMIT, taken + MEMORY_LIMIT))
    gc.freeze()  # what is there by now would make every collection slow
    pipe.send("ready")
    with contextlib.suppress(EOFError):
        while True:
            name, first, stop = pipe.recv()
            for number in range(first, stop):
                found = _one(every[name], number, seed, progress)
                if found is not None:  # at once: the process may not live to tell it later
                    pipe.send((number, found))
            gc.collect()
            pipe.send(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())


def _one(target: Target, number: int, seed: int, progress: Any) -> str | None:
    progress[0], progress[1] = number, time.monotonic()
    case = case_of(target, seed, number)
    started = time.process_time()
    found = None
    try:
        accepted = target.read(case)
    except BaseException as error:  # whatever it is, it is the finding
        found = described(error)
    else:
        progress[2] += target.width - accepted
        progress[3] += accepted
    took = time.process_time() - started
    progress[4] = max(progress[4], took)
    if found is None and took > SLOW_S:
        found = f"it took {took:.1f} s of CPU"
    return found


def described(error: BaseException) -> str:
    """The error, and the place that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = next((f for f in reversed(frames) if "penstock" in f.filename or "schemas" in f.filename), frames[-1])
    return f"{type(error).__name__}: {str(error)[:200]} ({Path(place.filename).name}:{place.lineno} {place.name})"


def save(folder: Path, finding: Finding, case: Case) -> Path:
    """A file that `load` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{finding.target.replace(', ', '-').replace(' ', '-')}-{finding.number}.msgpack"
    file.write_bytes(msgspec.msgpack.encode((finding.target, case)))
    return file


def load(file: Path) -> tuple[str, Case]:
    """The target's name, and the case."""
    return msgspec.msgpack.decode(file.read_bytes(), type=tuple[str, Case])
