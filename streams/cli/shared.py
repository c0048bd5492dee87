"""What the commands share: their common options, reading the settings, and printing."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from penstock.streams.settings import Settings

Result = TypeVar("Result")

DEFAULT_CONFIG = Path("penstock.toml")

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="PENSTOCK_CONFIG", metavar="FILE", help="The configuration file.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]


def load_settings(config: Path) -> Settings:
    """The settings of a command: the file's, over it the servers of a running `up --embedded`, over it the environment.

    Raises ConfigurationError.
    """
    from penstock.streams import embedded_session
    from penstock.streams.settings import Settings

    session = embedded_session.find(config.absolute().parent)
    return Settings.load(config, {**(session.environment() if session else {}), **os.environ})


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's asynchronous part. Libraries stay silent: what matters comes as an error."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return asyncio.run(work)


@contextmanager
def interruptible() -> Iterator[asyncio.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; a second one ends the process."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)

    def ask() -> None:
        stop.set()
        for each in signals:
            loop.remove_signal_handler(each)

    for each in signals:
        loop.add_signal_handler(each, ask)
    try:
        yield stop
    finally:
        for each in signals:
            loop.remove_signal_handler(each)


def console() -> Console:
    """For people; colours only where a terminal shows them."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


@contextmanager
def task_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error, moved by calls with a sentence, what is done and what there is to do (0: unknown)."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)

        def move(sentence: str, done: int, total: int) -> None:
            bars.update(task, description=sentence, completed=done, total=total or None)

        yield move


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns under dim headings, or without headings where all are empty."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", pad_edge=False, show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    from rich.console import Console

    Console(highlight=False).print(table)
