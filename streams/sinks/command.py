"""Alerts for a program of the operator: started without a shell, the alert as JSON on its standard input."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress

from penstock.schemas.alerts import Alert, encode_alert
from penstock.streams.sinks.sinks import NotTold

TIMEOUT_S = 10.0

_SAID_LIMIT = 300
"""Bytes of what the program said last on standard error."""


class Command:
    """Starts `argv` for every alert. Exit code 0 within the time-out says that the alert has been told."""

    name = "command"

    def __init__(self, argv: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> None:
        self._argv, self._timeout_s = tuple(argv), timeout_s

    async def tell(self, alert: Alert) -> None:
        _, body, _ = encode_alert(alert)
        with tempfile.TemporaryFile() as said:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._argv,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=said,
                    start_new_session=True,
                )
            except OSError as error:
                raise NotTold(f"it cannot be started ({error.strerror or error})", again=False) from error
            try:
                async with asyncio.timeout(self._timeout_s):
                    await process.communicate(body + b"\n")
            except TimeoutError as error:
                raise NotTold(f"it was not done within {self._timeout_s:g} s and was ended", again=True) from error
            finally:
                await _end(process)
            if process.returncode:
                raise NotTold(f"it exited with {process.returncode}{_last_line(said.fileno())}", again=True)

    async def close(self) -> None: ...


async def _end(process: asyncio.subprocess.Process) -> None:
    """Whatever it has started, too: it has a session of its own."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _last_line(file: int) -> str:
    size = os.fstat(file).st_size
    lines = os.pread(file, _SAID_LIMIT, max(0, size - _SAID_LIMIT)).decode(errors="replace").split("\n")
    said = next((line for line in reversed(lines) if line.strip()), "")
    return f" ({''.join(c for c in said.strip() if c.isprintable())})" if said else ""
