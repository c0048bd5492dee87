"""Nothing lost, nothing doubled: score workers under fire, and a count that shares no code with them.

Events with numbers of their own arrive at a steady rate, one in a thousand of them bad, at two score workers with a
real model, while something is broken again and again. A plain consumer of committed records then counts, for every
event, its predictions and dead letters.

    kills             a worker is killed with -9 every 15 s for 10 minutes, and started again as `penstock up` does
    kill-storm        the same every 5 s for 2 minutes
    takeover          kill -9, and nobody comes back until the other worker serves its partitions
    rolling-restart   SIGTERM to each worker in turn
    zombies           SIGSTOP to each worker in turn, SIGCONT when the other one serves its partitions
    broker-loss       each of three brokers is killed with -9, and started again 15 s later
    brokers-lost      all three are killed with -9, and come back a minute later
    disk-full         the broker's files may not grow any more: it ends, and comes back with room
    clock-jumps       the workers' clocks jump a day ahead, an hour back, and to the right time again
    redis             Redis is killed with -9, hangs, and comes back empty, while features are looked up in it
    modes             how many events a second one worker scores, exactly once and at least once in turn

    uv run benchmarks/reliability.py                                  # everything in both modes: the long form
    uv run benchmarks/reliability.py kills --mode exactly_once --seconds 120 --json kills.json
    uv run benchmarks/reliability.py --short --rate 3000              # each for some seconds: that it works

A pause is the time between two predictions of a partition, by the broker's clock as it appends them. Exits with 1
where anything was lost, or doubled beyond what the mode allows, or something happened that should not: a worker that
crashed or did not stop in order, a backlog that stayed, a scenario that came to no end. What was slower than is asked
is marked as MISSED, and exits with 1 only if the run is `--strict`: times are the machine's, too.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from reliability_suite.clocks import CLOCKS
from reliability_suite.lookups import LOOKUPS
from reliability_suite.outages import OUTAGES
from reliability_suite.results import Result, failed
from reliability_suite.scenarios import MODES, Ground
from reliability_suite.scenarios import SCENARIOS as OF_WORKERS
from reliability_suite.stage import Options, say
from reliability_suite.zombies import ZOMBIES
from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.streams.embedded import EmbeddedKafka

SCENARIOS = OF_WORKERS | ZOMBIES | OUTAGES | CLOCKS | LOOKUPS
PROBLEM_LETTERS = 200
"""Of a problem in the table; all of it is printed when it is found."""


def main(arguments: Sequence[str] | None = None) -> int:
    options, chosen = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that workers and brokers end with it
    results: list[Result] = []
    with folder(chosen.logs) as scratch:
        keep_apart("aiokafka", scratch / "clients.log")
        for scenario in chosen.scenarios or SCENARIOS:
            for mode in ["both"] if SCENARIOS[scenario].compares else chosen.mode:
                say(f"{scenario}, {mode.replace('_', ' ')}")
                results.append(run(scenario, mode, options, chosen.servers, scratch / f"kafka-{len(results)}"))
                print_result(results[-1])
                if chosen.json:
                    chosen.json.write_text(json.dumps(msgspec.to_builtins(results), indent=2) + "\n")
    print_table(results, strict=chosen.strict)
    return 0 if all(result.kept(strict=chosen.strict) for result in results) else 1


def run(scenario: str, mode: str, options: Options, servers: str | None, data: Path) -> Result:
    """One that comes to no end is a broken promise, and the next one's turn comes all the same."""
    kind = SCENARIOS[scenario]
    try:
        with ground(servers, data, kind.brokers) as place:
            return kind.run(place, mode, options)
    except Exception as error:
        return failed(scenario, mode, error)


def parse(arguments: Sequence[str] | None) -> tuple[Options, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="by name, as above (default: all)")
    parser.add_argument("--mode", nargs="+", choices=MODES, default=MODES, help="delivery modes (default: both)")
    parser.add_argument("--rate", type=int, default=20_000, help="events per second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="of kills (default: as above)")
    parser.add_argument("--every", type=float, metavar="SECONDS", help="between kills (default: as above)")
    parser.add_argument("--rounds", type=int, help="of the other scenarios (default: 5 takeovers and turns, 3 others)")
    parser.add_argument("--events", type=int, default=1_000_000, help="of a turn of modes (default: %(default)s)")
    parser.add_argument("--short", action="store_true", help="one round, or two kills, of each")
    parser.add_argument("--strict", action="store_true", help="exit with 1 also where something was too slow")
    parser.add_argument("--servers", help="a broker that is already there, instead of an embedded one")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep projects and logs there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.scenarios) - set(SCENARIOS):
        parser.error(f"{', '.join(sorted(unknown))}: none of {', '.join(SCENARIOS)}")
    if chosen.short:
        chosen.seconds, chosen.every, chosen.rounds = chosen.seconds or 16.0, chosen.every or 8.0, chosen.rounds or 1
        chosen.events = min(chosen.events, 100_000)
    options = Options(
        rate=chosen.rate, seconds=chosen.seconds, every_s=chosen.every, rounds=chosen.rounds, events=chosen.events
    )
    return options, chosen


@contextmanager
def folder(wished: Path | None) -> Iterator[Path]:
    if wished is not None:
        wished.mkdir(parents=True, exist_ok=True)
        yield wished.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="penstock-reliability-") as scratch:
        yield Path(scratch)


def keep_apart(logger: str, log: Path) -> None:
    """A client that waits for a young topic's leader, or for a broker that was killed, is no news of this run."""
    handler = logging.FileHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger(logger).addHandler(handler)
    logging.getLogger(logger).propagate = False


@contextmanager
def ground(servers: str | None, data: Path, brokers: int) -> Iterator[Ground]:
    """Brokers of its own for each scenario, unless there are some; their data goes with them."""
    if servers and brokers == 1:
        yield Ground(servers, data.parent)
        return
    try:
        with EmbeddedKafka(data, brokers=brokers) as kafka:
            yield Ground(",".join(kafka.servers), data.parent, kafka)
    finally:
        shutil.rmtree(data, ignore_errors=True)


def print_result(result: Result) -> None:
    for figure in result.figures:
        say(f"    {figure.name}: {figure.seen} (asked: {figure.asked}) {figure.mark}")
    for problem in result.problems:
        say(f"    BROKEN: {problem}")


def print_table(results: Sequence[Result], *, strict: bool) -> None:
    table = Table(title=f"At the load of this machine: {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores")
    for heading in ("scenario", "mode", "events", "predictions", "dead letters", "lost", "doubled", "longest pause s"):
        table.add_column(heading, justify="left" if heading in ("scenario", "mode") else "right")
    for heading in ("asked", "seen", ""):
        table.add_column(heading)
    for each in results:
        numbers = (each.events, each.predictions, each.dead_letters, each.lost, each.doubled)
        of_all = [each.scenario, each.mode.replace("_", " "), *(f"{number:,}" for number in numbers)]
        of_all.append(f"{each.longest_pause_s:.1f}")
        for row in told(each):
            table.add_row(*map(Text, (*of_all, *row)))  # a name in brackets is no style
            of_all = [""] * len(of_all)
        table.add_section()
    console = Console(width=None if sys.stdout.isatty() else 180)
    console.print(table)
    missed = sum(figure.mark == "MISSED" for each in results for figure in each.figures)
    console.print("Every promise was kept." if all(each.kept() for each in results) else "A promise is BROKEN.")
    if missed:
        counts = "counts" if strict else "counts with --strict only"
        console.print(f"MISSED {missed} times: what depends on the machine, too; it {counts}.")


def told(result: Result) -> Iterator[tuple[str, str, str]]:
    """What the table says beside the counts: problems, what is not as asked, and the times."""
    for problem in result.problems:
        yield "no problem", problem[:PROBLEM_LETTERS], "BROKEN"
    for figure in result.figures:
        if not figure.promised or figure.kept is not True:
            yield f"{figure.name} {figure.asked}", figure.seen, figure.mark
    if not result.problems and all(figure.promised and figure.kept for figure in result.figures):
        yield "", "", ""


if __name__ == "__main__":
    sys.exit(main())
