"""Runs one server and ends it when the process that asked for it is gone.

Started as `python -I -S watchdog.py GRACE_S PARENT_PID COMMAND…` in a session of its own, so that Ctrl-C in the
terminal reaches the parent only. Standard input is the life line: a pipe whose other end the parent holds. When it
closes (the parent stopped, was interrupted or was killed), the server gets SIGTERM and, `GRACE_S` seconds later,
SIGKILL. When the server ends by itself, the watchdog ends with the same status.

Imports nothing heavy and nothing of Penstock: it starts in some 20 ms.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
PARENT_CHECK_S = 1.0


def run(grace_s: float, parent_pid: int, command: list[str]) -> int:
    wake_read, wake_write = os.pipe()
    for end in (wake_read, wake_write):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: None)  # wakes the loop below, which then ends the server
    server = start(command)
    with contextlib.suppress(BrokenPipeError):  # the parent is gone already: the life line says so below
        os.write(1, f"{server}\n".encode())
    os.close(1)

    deadline: float | None = None
    watched = [0, wake_read]
    while True:
        ended, status = os.waitpid(server, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            os.kill(server, signal.SIGKILL)
            deadline = now + PARENT_CHECK_S
        patience_s = PARENT_CHECK_S if deadline is None else deadline - now
        ready = select.select(watched, [], [], patience_s)[0]
        told_to_end = wake_read in ready and signal.SIGTERM in os.read(wake_read, 64)
        # A forked (not executed) child of the parent may hold the life line open: look at the parent as well.
        if deadline is None and (0 in ready or told_to_end or os.getppid() != parent_pid):
            watched = [wake_read]
            deadline = time.monotonic() + grace_s
            os.kill(server, signal.SIGTERM)


def start(command: list[str]) -> int:
    """Fork and execute; safe because this process has one thread."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        end_with_parent()
        os.setsid()  # Linux shares the cores out by session, and a server may step back with its own
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(2, 1)
        os.execv(command[0], command)  # noqa: S606
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def end_with_parent() -> None:
    """The server does not outlive a killed watchdog either (Linux only)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(run(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
