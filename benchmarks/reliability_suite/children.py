"""Processes of the suite beside the service: each has one job, tells how far it is, and ends with its parent."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import msgspec

BENCHMARKS = Path(__file__).parents[1]
TELL_S = 0.5
"""How often a child tells how far it is."""

Told = TypeVar("Told", bound=msgspec.Struct)


class Child(Generic[Told]):
    """A module that runs as a process: `order` goes in as JSON, and each line that it prints is a `told`.

    It ends when its standard input closes: when `finish` is called, or when this process dies. As a context manager it
    is killed at the end, if it has not finished.
    """

    def __init__(self, module: str, order: msgspec.Struct, told: type[Told], log: Path) -> None:
        self._module, self._log = module, log
        self._decode = msgspec.json.Decoder(told).decode
        environment = os.environ | {"PYTHONPATH": str(BENCHMARKS), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, msgspec.json.encode(order).decode()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches this process alone, which lets the child finish
            )
        self._news = threading.Condition()
        self._last: Told | None = None
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def told(self) -> Told:
        """What it told last; waits for its first words. Raises RuntimeError where it died."""
        with self._news:
            self._news.wait_for(lambda: self._last is not None or not self._listener.is_alive(), timeout=60)
        if self._process.poll() not in (None, 0) or self._last is None:
            end = self._log.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"{self._module} ended with {self._process.poll()}:\n{end}")
        return self._last

    def finish(self, timeout_s: float, word: bytes = b"") -> Told:
        """Let it come to its end, with a last word to it; returns its own."""
        assert self._process.stdin is not None
        self._process.stdin.write(word)
        self._process.stdin.close()
        self._process.wait(timeout_s)
        self._listener.join()
        return self.told

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._last = self._decode(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()


def order_of_this_process(kind: type[Told]) -> Told:
    return msgspec.json.decode(sys.argv[1], type=kind)


async def tell_until_the_end(told: Callable[[], Any]) -> bytes:
    """Print `told()` again and again until standard input closes; returns what was read from it."""
    loop = asyncio.get_running_loop()
    end: asyncio.Future[bytes] = loop.create_future()
    threading.Thread(target=_wait_for_the_end, args=(loop, end), daemon=True).start()
    while True:
        tell(told())
        done, _ = await asyncio.wait([end], timeout=TELL_S)
        if done:
            return end.result()


def tell(words: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(words) + b"\n")
    sys.stdout.buffer.flush()


def _wait_for_the_end(loop: asyncio.AbstractEventLoop, end: asyncio.Future[bytes]) -> None:
    read = sys.stdin.buffer.read()
    loop.call_soon_threadsafe(end.set_result, read)
