"""Every reader of bytes from the bus against inputs that nobody meant: a value or its typed refusal, nothing else.

    uv run benchmarks/fuzz.py [--inputs N] [--seed N] [--only TARGET] [--processes N] [--findings FOLDER] [--json FILE]
    uv run benchmarks/fuzz.py --replay FILE

Valid inputs, written by the encoders themselves, are changed by bits, lengths, cuts and splices; by fields of their
documents; and by columns of their Arrow batches. Most are sealed again after the change, so that what lies behind the
checksum is reached. Events and labels are read in windows of changed records between good ones, which must come out
as they do alone. What is accepted is used once: encoded again, merged, cut.

A crash is any other exception, the death of the process, more than 2 s of CPU, or more than 4 GiB of memory. Readers
run in a process of their own, so that its death is counted and the run goes on; the input that did it is written to a
file which `--replay` reads. Equal seeds give equal inputs. Memory is looked at after each twentieth of a target's
inputs: what a target keeps of them may grow by 16 MB while it settles, and by 16 MB more for every million inputs; more
is a leak. Exits with 1 where anything crashed or leaked.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

from fuzz_suite.inputs import Target
from fuzz_suite.running import Runner, Tally, case_of, load, save, targets

BATCHES = 20
"""Of each target; memory is looked at after each."""
SHOWN = 8
"""Different findings of each target."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="over all targets (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="TARGET", help="all inputs for this target")
    parser.add_argument("--processes", type=int, default=1, help="side by side (default: %(default)s)")
    parser.add_argument("--findings", type=Path, metavar="FOLDER", help="where inputs that crash a reader are written")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="read one of those inputs again, in this process")
    parser.add_argument("--json", type=Path, help="write {target: {inputs, refused, accepted, crashes, …}, …} here")
    options = parser.parse_args(arguments)
    every = targets()
    if options.replay:
        name, case = load(options.replay)
        print(f"{name}: {every[name].read(case)} of {every[name].width} accepted")
        return 0
    if options.only and options.only not in every:
        parser.error(f"--only is none of {', '.join(every)}")
    folder = options.findings or Path(tempfile.mkdtemp(prefix="penstock-fuzz-"))
    started = time.perf_counter()
    chosen = [target for target in every.values() if options.only in (None, target.name)]
    tallies = fuzz(chosen, options.inputs, options.seed, options.processes)
    took = time.perf_counter() - started
    print_table(tallies)
    inputs = sum(tally.inputs for tally in tallies.values())
    print(f"{inputs:,} inputs in {took:,.0f} s: {inputs / took:,.0f} per second")
    for name, tally in tallies.items():
        kinds: dict[str, int] = {}
        for finding in tally.findings:
            kinds[finding.what] = kinds.get(finding.what, 0) + 1
            if kinds[finding.what] == 1 and len(kinds) <= SHOWN:
                file = save(folder, finding, case_of(every[name], options.seed, finding.number))
                print(f"{name}, case {finding.number}: {finding.what}\n    {file}")
    if options.json:
        figures = {name: as_json(tally) for name, tally in tallies.items()}
        document = {"seed": options.seed, "inputs": inputs, "seconds": took, "targets": figures}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    leaks = [name for name, tally in tallies.items() if tally.leaks]
    for name in leaks:
        print(f"{name}: LEAKS: grew by {tallies[name].growth_mb:,.1f} MB, at most {tallies[name].may_grow_mb:,.1f}")
    return 1 if leaks or any(tally.findings for tally in tallies.values()) else 0


def fuzz(chosen: Sequence[Target], inputs: int, seed: int, processes: int) -> dict[str, Tally]:
    """The targets' tallies, in their order; each process takes the next target when it is done with one."""
    tallies = {target.name: Tally() for target in chosen}
    shares = sum(target.share for target in chosen)
    waiting: SimpleQueue[Target] = SimpleQueue()
    for target in sorted(chosen, key=lambda target: -target.share):
        waiting.put(target)

    def work(_: int) -> None:
        with Runner(seed) as runner:
            for target in taken(waiting):
                cases = max(1, round(inputs * target.share / shares / target.width))
                for tally in runner.run(target, cases, -(-cases // BATCHES)):
                    tallies[target.name] = tally
                    report(target.name, tally, cases * target.width)

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(work, range(processes)))
    return tallies


def taken(waiting: SimpleQueue[Target]) -> Iterable[Target]:
    while True:
        try:
            yield waiting.get_nowait()
        except Empty:
            return


def report(name: str, tally: Tally, of: int) -> None:
    so_far = f"{len(tally.findings)} crashes, {tally.growth_mb:.1f} MB more"
    print(f"{name}: {tally.inputs:,} of {of:,}, {so_far}", file=sys.stderr)


def print_table(tallies: dict[str, Tally]) -> None:
    heads = ("inputs", "refused", "accepted", "crashes", "slowest, ms", "memory growth, MB", "at most")
    print(f"{'target':<20}" + "".join(f"{head:>{max(11, len(head) + 2)}}" for head in heads))
    for name, tally in tallies.items():
        print(
            f"{name:<20}{tally.inputs:>11,}{tally.refused:>11,}{tally.accepted:>11,}{len(tally.findings):>11,}"
            f"{tally.slowest_ms:>13,.1f}{tally.growth_mb:>19,.1f}{tally.may_grow_mb:>11,.1f}"
        )


def as_json(tally: Tally) -> dict[str, float]:
    return {
        "inputs": tally.inputs,
        "refused": tally.refused,
        "accepted": tally.accepted,
        "crashes": len(tally.findings),
        "slowest_ms": tally.slowest_ms,
        "memory_growth_mb": tally.growth_mb,
        "memory_may_grow_mb": tally.may_grow_mb,
        "leaks": tally.leaks,
    }


if __name__ == "__main__":
    sys.exit(main())
