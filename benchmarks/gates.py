"""How far a gate's verdicts can be trusted: wrong rollbacks and promotions, and what it takes to come to a verdict.

    uv run benchmarks/gates.py --json gates.json
    uv run benchmarks/gates.py --runs 100

A thousand simulated rollouts each, looked at whenever one of 60 time buckets matures, and by the fast test at every
block: by Penstock's own cells, gate and fast test, which get the streams' sums. All of it is seeded: two runs come to
the same. A figure with (< x) carries its upper 95 % confidence limit (Clopper and Pearson 1934).

Wrong verdicts are counted over the whole horizon, at alpha .05, also after a rollout would have ended; beside them, in
every fourth rollout, what the primary metric alone does at all of alpha, and what becomes of it where a part of the
gate is left out. Takes about twelve minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

from drift_suite.figures import Figure, as_json, shown, table
from gates_suite import measures
from rich.console import Console
from rich.table import Table

WHOLE = "primary metric at all of α"

PARTS: dict[str, tuple[str, Callable[[int], list[measures.Measure]]]] = {
    "errors": ("wrong verdicts, α = .05", measures.errors),
    "decided": ("rollouts that end with their first verdict", measures.decided),
    "limits": ("beyond what is promised", measures.limits),
}


class _Options(NamedTuple):
    runs: int
    parts: list[str]
    jobs: int
    file: Path | None


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else 240)
    report: dict[str, list[Figure]] = {}
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        waiting = {
            part: [pool.submit(_timed, measure) for measure in PARTS[part][1](options.runs)] for part in options.parts
        }
        try:
            for part, futures in waiting.items():
                report[part] = [figure for future in futures for figure in future.result()]
                for printed in tables(PARTS[part][0], report[part]):
                    console.print(printed)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if options.file:
        parts = {part: [as_json(figure) for figure in figures] for part, figures in report.items()}
        text = json.dumps({"runs": options.runs, "parts": parts}, indent=2, ensure_ascii=False)
        options.file.write_text(text + "\n", "utf-8")


def tables(title: str, figures: Sequence[Figure]) -> Iterator[Table]:
    """What the gate does; and, where that was looked at, what its primary metric does without one of its parts."""
    crossed = [figure for figure in figures if WHOLE in figure.others]
    if not crossed:
        yield table(title, figures)
        return
    yield table(title, [replace(figure, others={}) for figure in figures])
    yield without(f"{title}: the primary metric alone, whole and without one part", crossed)


def without(title: str, figures: Sequence[Figure]) -> Table:
    """Shares of wrong verdicts, one column for each part that is left out."""
    printed = Table(title=title, title_justify="left")
    printed.add_column("measure")
    columns = list(dict.fromkeys(name for figure in figures for name in figure.others))
    for name in columns:
        printed.add_column("whole" if name == WHOLE else name, justify="right")
    for figure in figures:
        printed.add_row(figure.measure, *(shown(figure.others.get(name)) for name in columns))
    return printed


def parse(arguments: Sequence[str] | None) -> _Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs", type=int, default=1_000, help="simulated rollouts of each kind (default: %(default)s)"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="NAME", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    given = parser.parse_args(arguments)
    chosen = [part for part in PARTS if given.only is None or part in given.only]
    return _Options(max(1, given.runs), chosen, max(1, given.jobs), given.json)


def _timed(measure: measures.Measure) -> list[Figure]:
    begun = time.process_time()
    figures = measure.taken()
    print(f"{measure.title}: {time.process_time() - begun:.0f} s CPU", file=sys.stderr, flush=True)
    return figures


if __name__ == "__main__":
    main()
