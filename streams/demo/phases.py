"""What the demo says while it works, and that it can be ended at any time."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


class Phases:
    """A line that says what is happening, and a bar once records are being sent."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("Starting", total=None)

    def say(self, phase: str) -> None:
        self._progress.update(self._task, description=phase)

    def step(self, sentence: str, done: int, total: int) -> None:
        """As the embedded servers report; `total` 0 is unknown."""
        self._progress.update(self._task, description=sentence, completed=done, total=total or None)

    def count(self, total: int) -> Callable[[int], None]:
        """A bar of `total` records; returns the function that moves it."""
        self._progress.update(self._task, completed=0, total=total)

        def sent(records: int) -> None:
            self._progress.update(self._task, advance=records)

        return sent


@contextmanager
def showing(console: Console) -> Iterator[Phases]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Phases(progress)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, so that it can end its children."""

    def interrupt(*_: object) -> None:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a script starts what it runs in the background
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGINT)

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
