"""`penstock demo`: everything from nothing, in one command, and at the end the books."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from penstock.schemas.errors import ConfigurationError
from penstock.schemas.records import ModelRef
from penstock.streams.demo.flights import Flights, load_flights
from penstock.streams.demo.folder import Folder, demo_folder
from penstock.streams.demo.history import feature_columns
from penstock.streams.demo.ledger import Account
from penstock.streams.demo.lookups import Lookups
from penstock.streams.demo.project import segment_rows_for, write_project
from penstock.streams.demo.report import Report, auc_table, counts_table, make_report
from penstock.streams.demo.stream import Material, stream, stretches
from penstock.streams.demo.traffic import traffic
from penstock.streams.demo.worker import Workers, admin_port
from penstock.streams.embedded import EmbeddedKafka, EmbeddedRedis
from penstock.streams.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

FIRST_MONTH, LAST_MONTH = 3, 12
ALL_EVENTS = 285_000
INTERRUPTED = 130


def run_demo(
    *,
    events: int | None = None,
    speed_up: float | None = None,
    report: Path | None = None,
    keep: bool = False,
    data: Path | None = None,
    brokers: int = 1,
    mode: str = "at_least_once",
    console: Console | None = None,
) -> int:
    """Run the demo and return the exit code: 0, 1 when an event was lost, 130 when interrupted.

    Args:
        events: so many of the year's flights, evenly chosen so that every month keeps its share; None: all of March to
            December (284,821). Trailing delays come from all arrivals either way.
        speed_up: replay so many times faster than time (3600: an hour a second); None: as fast as it goes.
        report: where to write the JSON report.
        keep: leave everything running at the end, until Ctrl-C.
        data: a folder to keep everything in; it is made anew by each run. None: a temporary one.
        brokers: 1, or 3.
        mode: at_least_once or exactly_once.
        console: where to write.

    Raises PenstockError where something cannot be started. However it ends, every child process ends with it.
    """
    if console is None:
        from rich.console import Console as RichConsole

        console = RichConsole(highlight=False)
    _check(events, speed_up)
    for library in ("aiokafka", "kafka"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # what matters comes as an error
    try:
        with _terminable():
            return _Demo(console, events, speed_up, report, keep, brokers, mode).run(data)
    except KeyboardInterrupt:
        console.print("Interrupted: the workers, the broker and Redis have been stopped.")
        return INTERRUPTED


class _Demo:
    """One run, phase by phase."""

    def __init__(
        self,
        console: Console,
        events: int | None,
        speed_up: float | None,
        report: Path | None,
        keep: bool,
        brokers: int,
        mode: str,
    ) -> None:
        self._console, self._events, self._speed_up, self._report = console, events, speed_up, report
        self._keep, self._brokers, self._mode = keep, brokers, mode
        self._began = time.perf_counter()

    def run(self, data: Path | None) -> int:
        from penstock.streams import topics
        from penstock.streams.control import use_champion

        with demo_folder(data) as folder, ExitStack() as stack:
            with _phases(self._console) as phases:
                phases.say("Starting Apache Kafka")
                kafka = stack.enter_context(
                    EmbeddedKafka(folder.path / "kafka", brokers=self._brokers, progress=phases.step)
                )
                phases.say("Starting Redis")
                redis = stack.enter_context(EmbeddedRedis(folder.path / "redis"))
                expected = self._events or ALL_EVENTS
                config = write_project(
                    folder.path,
                    servers=kafka.servers,
                    redis_url=redis.url,
                    mode=self._mode,
                    replication_factor=self._brokers,
                    admin_port=admin_port(),
                    segment_rows=segment_rows_for(expected),
                )
                settings = Settings.load(config, environ={})
                phases.say("Creating topics")
                asyncio.run(topics.create(settings))
                workers = Workers(folder, config, settings.admin)
                stack.callback(workers.stop)
                phases.say("Reading the flights of 2013")
                year = load_flights()
                lookups = Lookups.of(year)
                phases.say("Training on January and February")
                model = train_and_register(settings, year, lookups, folder)
                asyncio.run(use_champion(settings, model, author="penstock demo", reason="trained a moment ago"))
                phases.say("Making events")
                rest = year.months(FIRST_MONTH, LAST_MONTH).thinned(self._events)
                material = Material(traffic(rest), rest.labels(), lookups.asked_by(rest))
                sent = phases.count(len(material.traffic))
                account = asyncio.run(
                    stream(
                        settings, material, workers,
                        speed_up=self._speed_up, keep=self._keep, say=phases.say, sent=sent,
                    )
                )  # fmt: skip
            found = self._summary(rest, material, account)
            if self._keep:
                self._show_around(config, settings, workers, folder)
                _sleep_until_interrupted()
        if data is not None:
            self._console.print(f"\nEverything is in {folder.path}", soft_wrap=True)
        return 0 if found.lost == 0 else 1

    def _summary(self, flights: Flights, material: Material, account: Account) -> Report:
        plan = stretches(len(material.traffic), self._speed_up)
        delays, rows = material.lookups.found(flights)["origin_delays"]
        rule = np.append(np.asarray(delays.fields["delay"], np.float64), 0.0)[rows]
        found = make_report(
            flights, material.traffic, account, plan, rule=rule, seconds=time.perf_counter() - self._began
        )
        if self._report is not None:
            self._report.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
        console = self._console
        console.print()
        console.print(counts_table(found, plan, material.traffic.bad))
        console.print()
        console.print(auc_table(found))
        console.print(_ABOUT_AUC, style="dim")
        console.print(f"\nDone in {found.seconds:.0f} s.")
        if not self._keep:
            console.print(_TRY_NEXT, soft_wrap=True)
        return found

    def _show_around(self, config: Path, settings: Settings, workers: Workers, folder: Folder) -> None:
        self._console.print(
            _LOOK_AROUND.format(
                kafka=settings.kafka.address,
                redis=settings.redis.url,
                metrics=workers["score"].address,
                config=config,
                folder=folder.path,
            ),
            soft_wrap=True,
        )


def train_and_register(settings: Settings, year: Flights, lookups: Lookups, folder: Folder) -> ModelRef:
    """Train the champion, write its package and add it to the registry."""
    from penstock.models.package import write_package
    from penstock.models.registry import Registry
    from penstock.streams.demo import training

    past = year.months(*training.TRAINING_MONTHS)
    past = past.take(past.labelled)
    columns = feature_columns(settings.catalogue, past, lookups)
    with training.one_thread():
        trained = training.train(columns, past.late)
        package = write_package(
            folder.path / "packages",
            settings.catalogue,
            name=training.MODEL,
            network=trained.network,
            factory=training.FACTORY,
            arguments=trained.arguments,
            signature=trained.signature,
            reference=columns,
            labels=past.late,
            times=past.time,
            seed=training.SEED,
            segment_rows=settings.watch.segment_rows,
        )
    return Registry(settings.registry_location).add(package)


def _check(events: int | None, speed_up: float | None) -> None:
    for option, value in (("--events", events), ("--speed-up", speed_up)):
        if value is not None and value <= 0:
            raise ConfigurationError("penstock demo", option, found=str(value), expected="a number above 0")


class _Phases:
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
def _phases(console: Console) -> Iterator[_Phases]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Phases(progress)


@contextmanager
def _terminable() -> Iterator[None]:
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


def _sleep_until_interrupted() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        return


_ABOUT_AUC = """\
More than 15 minutes late? 0.5 is a coin, 1 is always right.
The model saw January and February only. The rule: the mean delay
of the origin's last 30 arrivals."""

_TRY_NEXT = """
What to try next:
  penstock demo --keep                    leave it running and look around
  penstock demo --mode exactly_once       every outcome once, whatever crashes
  penstock demo --speed-up 86400          a day a second
  penstock init my-pipeline               your own topic and your own model"""

_LOOK_AROUND = """
It is all still running. In another terminal:
  penstock doctor -c {config}
  penstock tail predictions -c {config}
  penstock dead-letters list -c {config}
  penstock models list -c {config}
  curl {metrics}/metrics
Kafka {kafka}   Redis {redis}   files {folder}
Ctrl-C stops everything."""
