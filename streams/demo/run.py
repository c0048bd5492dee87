"""`penstock demo`: everything from nothing, in one command, and at the end the books."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.schemas.errors import ConfigurationError
from penstock.streams.demo import screen
from penstock.streams.demo.counterfactual import Counterfactual
from penstock.streams.demo.faults import with_unit_change, without_trailing_delays
from penstock.streams.demo.findings import Findings
from penstock.streams.demo.flights import Flights, load_flights
from penstock.streams.demo.folder import Folder, demo_folder
from penstock.streams.demo.ledger import Account
from penstock.streams.demo.lookups import Lookups
from penstock.streams.demo.models import train_and_register
from penstock.streams.demo.phases import showing, terminable
from penstock.streams.demo.project import segment_rows_for, write_project
from penstock.streams.demo.report import Report, Stretches, make_report
from penstock.streams.demo.stream import Material, stream
from penstock.streams.demo.traffic import Traffic, traffic
from penstock.streams.demo.trials import AUTHOR
from penstock.streams.demo.worker import Workers, admin_port
from penstock.streams.embedded import EmbeddedKafka, EmbeddedRedis
from penstock.streams.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

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
        with terminable():
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
            with showing(self._console) as phases:
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
                champion, *candidates = models = train_and_register(settings, year, lookups, folder)
                asyncio.run(use_champion(settings, champion.ref, author=AUTHOR, reason=f"Trained {champion.how}."))
                phases.say("Making events")
                rest = year.months(FIRST_MONTH, LAST_MONTH).thinned(self._events)
                asked = lookups.asked_by(rest)
                material = Material(traffic(with_unit_change(rest)), rest.labels(), without_trailing_delays(asked))
                sent = phases.count(len(material.traffic))
                account, findings, plan = asyncio.run(
                    stream(
                        settings, material, workers, candidates,
                        speed_up=self._speed_up, keep=self._keep, say=phases.say, sent=sent,
                    )
                )  # fmt: skip
                phases.say("Scoring the flights once more, without the faults")
                counterfactual = Counterfactual.of(settings.catalogue, models, rest, asked)
            found = self._summary(rest, material.traffic, account, plan, findings, counterfactual)
            if self._keep:
                self._show_around(config, settings, workers, folder)
                _sleep_until_interrupted()
        if data is not None:
            self._console.print(f"\nEverything is in {folder.path}", soft_wrap=True)
        return 0 if found.lost == 0 else 1

    def _summary(
        self,
        flights: Flights,
        sent: Traffic,
        account: Account,
        plan: Stretches,
        findings: Findings,
        counterfactual: Counterfactual,
    ) -> Report:
        seconds = time.perf_counter() - self._began
        found = make_report(
            flights, sent, account, plan, findings=findings, counterfactual=counterfactual, seconds=seconds
        )
        if self._report is not None:
            self._report.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
        screen.show(self._console, found, plan, sent.bad)
        if not self._keep:
            self._console.print(screen.TRY_NEXT, soft_wrap=True)
        return found

    def _show_around(self, config: Path, settings: Settings, workers: Workers, folder: Folder) -> None:
        self._console.print(
            screen.LOOK_AROUND.format(
                kafka=settings.kafka.address,
                redis=settings.redis.url,
                metrics=workers["score"].address,
                config=config,
                folder=folder.path,
            ),
            soft_wrap=True,
        )


def _check(events: int | None, speed_up: float | None) -> None:
    for option, value in (("--events", events), ("--speed-up", speed_up)):
        if value is not None and value <= 0:
            raise ConfigurationError("penstock demo", option, found=str(value), expected="a number above 0")


def _sleep_until_interrupted() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        return
