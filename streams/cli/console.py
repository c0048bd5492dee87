"""The topics at a terminal: `penstock send`, `penstock tail`, and the group `penstock dead-letters`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.streams.cli import dead_letters
from penstock.streams.cli.shared import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    interruptible,
    load_settings,
    print_json,
    run_async,
    task_progress,
)

if TYPE_CHECKING:
    from penstock.streams.console.event_files import ByteSource, Chunk
    from penstock.streams.console.sending import Sent
    from penstock.streams.settings import Settings


class Format(StrEnum):
    ndjson = "ndjson"
    csv = "csv"


class TopicRole(StrEnum):
    predictions = "predictions"
    review = "review"
    scored = "scored"
    shadow_scores = "shadow-scores"
    dead_letters = "dead-letters"
    labels = "labels"
    summaries = "summaries"
    control = "control"
    decisions = "decisions"
    alerts = "alerts"
    events = "events"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Events")(send)
    app.command(rich_help_panel="Events")(tail)
    dead_letters.register(app)


def send(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="One JSON event per line, or CSV; - reads standard input.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    format: Annotated[
        Format | None, typer.Option("--format", help="\\[default: csv for *.csv, else ndjson]", show_default=False)
    ] = None,
    rate: Annotated[
        str | None, typer.Option("--rate", metavar="N[/s]", help="Events a second. \\[default: as fast as it goes]")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="PATH", help="The field that is the key. \\[default: events.key]")
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1024, metavar="BYTES", help="Send at most so many bytes together.")
    ] = 262_144,
    as_json: JsonOption = False,
) -> None:
    """Send events to the pipeline's events topic. Every one is confirmed by Kafka, and none is sent twice.

    A CSV file's first row names the fields; numbers, true and false are recognised, empty cells are null. Ctrl-C
    ends it cleanly and says how many events are in the topic.

    Example: [bold]penstock send departures.ndjson --rate 500/s[/bold]
    """
    settings = load_settings(config)
    from penstock.streams.console import sending
    from penstock.streams.console.event_files import chunks, key_reader

    path = key or settings.events.key
    kind = format or (Format.csv if source.endswith(".csv") else Format.ndjson)
    speed = _rate(rate)

    async def work(events: Iterator[Chunk], size: int) -> Sent:
        with task_progress() as move, interruptible() as stop:

            def progress(sent: Sent) -> None:
                move(f"{sent.confirmed:,} events, {sent.events_per_s:,.0f}/s", sent.read_bytes, size)

            return await sending.send(
                settings.kafka, settings.topics.events.name, events, rate=speed,
                max_bytes=settings.events.max_bytes, batch_bytes=batch, stop=stop, progress=progress,
            )  # fmt: skip

    with _opened(source) as (stream, size):
        events = chunks(stream, kind.value, place=source, key=key_reader(path) if path else None)
        sent = run_async(work(events, size))
    _report_sent(sent, settings, as_json)


def _report_sent(sent: Sent, settings: Settings, as_json: bool) -> None:
    topic = settings.topics.events.name
    if as_json:
        print_json({
            "topic": topic, "confirmed": sent.confirmed, "unconfirmed": sent.unconfirmed,
            "too_large": [line for line, _ in sent.too_large], "interrupted": sent.interrupted,
            "seconds": round(sent.seconds, 3), "events_per_s": round(sent.events_per_s),
        })  # fmt: skip
    else:
        typer.echo(
            f"{sent.confirmed:,} events are in {topic} ({sent.seconds:.1f} s, {sent.events_per_s:,.0f} events/s)."
        )
    for line, size in sent.too_large[:10]:
        typer.echo(
            f"Line {line}: {size:,} bytes, more than events.max_bytes ({settings.events.max_bytes:,}); left out.",
            err=True,
        )
    if len(sent.too_large) > 10:
        typer.echo(f"{len(sent.too_large):,} events were too large and left out.", err=True)
    if sent.unconfirmed:
        typer.echo(f"{sent.unconfirmed:,} more were on their way and may be there, too.", err=True)
    if sent.interrupted:
        raise typer.Exit(130)
    if sent.too_large:
        raise typer.Exit(1)


def tail(
    topic: Annotated[
        TopicRole,
        typer.Argument(
            metavar="TOPIC", help="predictions, scored, dead-letters, labels, alerts, control, decisions or events."
        ),
    ] = TopicRole.predictions,
    config: ConfigOption = DEFAULT_CONFIG,
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="Begin with the last N records.")] = 10,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Begin with the first record.")] = False,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", "-f/-F", help="Wait for new records.")] = True,
    partition: Annotated[int | None, typer.Option("--partition", min=0, help="Only this partition.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document per line, for a program.")] = False,
) -> None:
    """Show what goes through a topic, readable: time, partition-offset, content. Ctrl-C ends it.

    Scored records are opened: one line per event with every feature as the model saw it; shadow scores, too, with what
    each candidate says. Summaries show what they are about.

    Example: [bold]penstock tail scored --last 100 --no-follow[/bold]
    """
    settings = load_settings(config)
    from penstock.streams.console import rendering, tailing

    name: str = getattr(settings.topics, topic.name).name

    async def work() -> None:
        with interruptible() as stop:
            async for record in tailing.tail(
                settings.kafka,
                name,
                last=None if from_beginning else last,
                follow=follow,
                partition=partition,
                stop=stop,
            ):
                if as_json:
                    shown = [rendering.to_json(document) for document in rendering.documents(topic.value, record)]
                else:
                    shown = rendering.lines(topic.value, record)
                for line in shown:
                    typer.echo(line)
                if stop.is_set():
                    return

    try:
        run_async(work())
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()


def _rate(text: str | None) -> float | None:
    """`500/s` or `500`: events a second."""
    if text is None:
        return None
    try:
        rate = float(text.removesuffix("/s"))
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise typer.BadParameter(f"{text!r} is not a number of events a second, for example 500/s", param_hint="--rate")
    return rate


class _Descriptor:
    """Reads a file descriptor past Python's own buffer.

    A thread that waits inside that buffer holds its lock, and Python aborts when it finds it locked at the end.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read1(self, size: int, /) -> bytes:
        return os.read(self._descriptor, size)


def _standard_input() -> ByteSource:
    try:
        return _Descriptor(sys.stdin.fileno())
    except OSError:  # not a real one
        return sys.stdin.buffer  # type: ignore[return-value]


@contextmanager
def _opened(source: str) -> Iterator[tuple[ByteSource, int]]:
    """The bytes of a file or of standard input, and how many there are (0: unknown)."""
    from penstock.schemas.errors import ConfigurationError

    if source == "-":
        yield _standard_input(), 0
        return
    path = Path(source)
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ConfigurationError(
            "penstock send", "FILE", found=f"{source!r} ({error.strerror})", expected="a file that can be read, or -"
        ) from error
    with stream:
        yield stream, path.stat().st_size
