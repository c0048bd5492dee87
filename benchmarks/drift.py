"""How far drift alarms can be trusted: false alarms against the budget, delays, causes, cost, robustness.

    uv run benchmarks/drift.py --data DIR --json drift.json
    uv run benchmarks/drift.py --only delays false_alarms

Every measure is printed beside its goal and beside firing always, firing never and River's ADWIN where they apply; a
figure with (< x) carries its upper 95 % confidence limit, one with ± x its standard error. All of it is simulated or
public data with known changes, seeded: two runs differ in the cost alone. Without --data the parts on public files are
left out, and the benchmark says which; benchmarks/drift_suite/README.md names the files. Takes about 15 minutes on two
cores; --quick only shows in a minute or two that everything runs, its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path

from drift_suite.figures import Cell, Figure, MissingData, Options, as_json, table
from rich.console import Console

PARTS = {
    "cost": "cost of watching",
    "false_alarms": "realised / asked false alarms",
    "delays": "delay of detection",
    "causes": "several features drifting at once",
    "errors": "concept drift on an error stream",
    "joint": "joint drift of all columns",
    "injected": "changes injected into elec2",
    "robustness": "state, restarts and broken values",
    "default_set": "the default set as shipped",
}
"""Modules of drift_suite, in the order of printing → titles."""
ALONE = "cost"
"""Measured while nothing else runs."""

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Result = list[Figure] | str
"""What a cell found, or why it was left out."""


def main(arguments: Sequence[str] | None = None) -> None:
    options, parts, jobs, file = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception: the other processes end too
    os.environ |= dict.fromkeys(ONE_THREAD, "1")  # before the parts import numpy and numba, here and in other processes
    cells = [cell for part in parts for cell in import_module(f"drift_suite.{part}").cells(options)]
    figures: dict[str, list[Figure]] = {part: [] for part in parts}
    left_out: dict[str, str] = {}
    open_cells = Counter(cell.part for cell in cells)
    console = Console(width=None if sys.stdout.isatty() else 200)
    for cell, result in run(cells, jobs):
        if isinstance(result, str):
            left_out[f"{cell.part}: {cell.title}"] = result
        else:
            figures[cell.part] += result
        open_cells[cell.part] -= 1
        if not open_cells[cell.part] and figures[cell.part]:
            console.print(table(PARTS[cell.part], figures[cell.part]))
    for title, reason in left_out.items():
        console.print(f"left out: {title}: {reason}")
    if file:
        parts_as_json = {part: [as_json(figure) for figure in found] for part, found in figures.items()}
        report = {"quick": options.quick, "left_out": left_out, "parts": parts_as_json}
        file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def parse(arguments: Sequence[str] | None) -> tuple[Options, list[str], int, Path | None]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="NAME", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the directory of the public files")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that everything runs, measures nothing")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    given = parser.parse_args(arguments)
    if given.data is not None and not given.data.is_dir():
        parser.error(f"--data {given.data} is no directory")
    chosen = [part for part in PARTS if given.only is None or part in given.only]
    return Options(quick=given.quick, data=given.data), chosen, max(1, given.jobs), given.json


def run(cells: Sequence[Cell], jobs: int) -> Iterator[tuple[Cell, Result]]:
    """The cells with their results, in order, as soon as they are there; at its end every other process has ended."""
    for cell in cells:
        if cell.part == ALONE:
            yield cell, work(cell)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        waiting = [(cell, pool.submit(work, cell)) for cell in cells if cell.part != ALONE]
        try:
            for cell, future in waiting:
                yield cell, future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def work(cell: Cell) -> Result:
    begun = time.process_time()
    try:
        result: Result = cell.run(*cell.arguments)
    except MissingData as missing:
        result = str(missing)
    except Exception as error:  # not every error can travel between processes, but its text can
        raise RuntimeError(f"{cell.part}: {cell.title}: {error!r}\n{traceback.format_exc()}") from None
    print(f"{cell.part}: {cell.title}: {time.process_time() - begun:.0f} s CPU", file=sys.stderr, flush=True)
    return result


if __name__ == "__main__":
    main()
