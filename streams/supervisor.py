"""`penstock up`: one child process per worker, started again when it fails, ended with this process however it ends.

Each child runs under the watchdog of `penstock.streams.embedded`, in a session of its own: Ctrl-C reaches the
supervisor alone, which lets the workers finish and commit what is in flight, and a killed supervisor leaves no orphan.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from penstock.schemas.errors import ConfigurationError, ModelRefused
from penstock.streams.back_off import PATIENT, BackOff
from penstock.streams.embedded import watchdog

log = logging.getLogger("penstock")

HOPELESS = (ConfigurationError.exit_code, ModelRefused.exit_code)
"""Exit codes of a worker that would fail the same way again: the supervisor ends with them."""


@dataclass(frozen=True)
class Worker:
    """A process to keep running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


async def supervise(
    workers: Sequence[Worker],
    *,
    back_off: BackOff = PATIENT,
    grace_s: float = 20.0,
    on_start: Callable[[Worker, int], None] = lambda worker, pid: None,
) -> int:
    """Keep `workers` running until SIGTERM or Ctrl-C, or until all have ended by themselves; returns the exit code.

    A stopping worker gets SIGTERM and, `grace_s` later, SIGKILL. `on_start` hears of each start and its process id.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        codes = await asyncio.gather(*(_keep_running(worker, stop, back_off, grace_s, on_start) for worker in workers))
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    return next((code for code in codes if code), 0)


async def _keep_running(
    worker: Worker, stop: asyncio.Event, back_off: BackOff, grace_s: float, on_start: Callable[[Worker, int], None]
) -> int:
    """The exit code for which there is no sense in going on; 0 after a wished end."""
    loop = asyncio.get_running_loop()
    failures = 0
    while not stop.is_set():
        started = loop.time()
        code = await _run_once(worker, stop, grace_s, on_start)
        if stop.is_set() or code == 0:
            return 0
        if code in HOPELESS:
            log.error("The %s worker cannot start; stopping", worker.name)
            stop.set()
            return code
        failures = back_off.failures(failures, loop.time() - started)
        delay_s = back_off.delay_s(failures)
        ran = f"{_how(code)} after {loop.time() - started:.0f} s (failure {failures} in a row)"
        log.warning("The %s worker %s; starting it again in %g s", worker.name, ran, delay_s)
        try:
            await asyncio.wait_for(stop.wait(), delay_s)
        except TimeoutError:
            continue
    return 0


def _how(code: int) -> str:
    """How a worker ended: 128 and more is a signal's number.

    >>> _how(70), _how(139)
    ('ended with exit code 70', 'was killed by SIGSEGV')
    >>> _how(137)
    'was killed by SIGKILL, as where there is no memory left'
    """
    if code - 128 not in {number.value for number in signal.Signals}:
        return f"ended with exit code {code}"
    name = signal.Signals(code - 128).name
    return f"was killed by {name}" + (", as where there is no memory left" if name == "SIGKILL" else "")


async def _run_once(
    worker: Worker, stop: asyncio.Event, grace_s: float, on_start: Callable[[Worker, int], None]
) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", watchdog.__file__, str(grace_s), str(os.getpid()), *worker.command,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=dict(worker.environment),
        start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None  # noqa: S101
    assert process.stdout is not None  # noqa: S101
    ended = asyncio.create_task(process.wait())
    stopping = asyncio.create_task(stop.wait())
    try:
        if pid := (await process.stdout.readline()).strip():
            on_start(worker, int(pid))
        await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        process.stdin.close()  # the life line: the watchdog ends the worker, if it has not ended itself
        code = await ended
    return code
