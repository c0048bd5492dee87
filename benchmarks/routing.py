"""What it costs to say which variant answers an event, and whether experiments are independent. No server is needed.

    uv run python benchmarks/routing.py [--keys N] [--repetitions N] [--json FILE]

Prints nanoseconds of CPU per key, in windows of 2,048, as the median of the repetitions and their range: to hash the
key, to route by one and two experiments, by arms and by rules, and both together. Then three tests that the draws of
many experiments are independent: Pearson's chi² of who takes part in both of two, correlation of their points, and of
an experiment's own two draws. Under independence, p-values are uniform: the smallest of n is above 0.001 / n in 999 of
1,000 times, and their own chi² over ten equal classes is what is printed last.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc, ndtr

from penstock.models.routing import Routing
from penstock.schemas.columns import Category, Columns, Layout
from penstock.schemas.control import Control, Experiment, Rule
from penstock.schemas.keys import hash_keys, points, routing_keys, within
from penstock.schemas.records import ModelRef

WINDOW = 2048
CALLS = 200
EXPERIMENTS = tuple(f"experiment-{number}" for number in range(24))
SHARES = (0.01, 0.05, 0.25, 0.5)
VARIANTS = {"a": ModelRef("delay", 2), "b": ModelRef("delay", 3)}
CANARY, PRICE = Experiment("rollout-7", 0.05, {"a": 1.0}), Experiment("price", 0.5, {"champion": 1.0, "b": 1.0})
STAFF = Rule("staff", "a", keys=tuple(f"customer-{number}" for number in range(20)))
AIRPORT = Rule("airport", "b", feature="origin", values=("A7", "A9"))
HASH = "hash"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000, help="how many the tests of independence draw")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write {costs_ns_per_key: {…}, independence: {…}} here")
    arguments = parser.parse_args()
    costs = measure(arguments.repetitions)
    print(f"{'ns of CPU per key':<34}{'median':>8}{'range':>16}")
    for name, values in costs.items():
        print(f"{name:<34}{statistics.median(values):>8.1f}{f'{min(values):.1f}–{max(values):.1f}':>16}")
    tests = independence(arguments.keys)
    print(f"\n{arguments.keys:,} keys, {len(EXPERIMENTS)} experiments")
    print(f"{'independence':<34}{'tests':>8}{'smallest p':>12}{'p < 0.05':>10}{'p uniform: p':>14}")
    for name, p in tests.items():
        print(f"{name:<34}{len(p):>8}{p.min():>12.2g}{(p < 0.05).mean():>10.1%}{uniformity(p):>14.2g}")
    if arguments.json:
        figures = {
            "costs_ns_per_key": {name: statistics.median(values) for name, values in costs.items()},
            "independence": {
                name: {
                    "tests": len(p),
                    "smallest_p": p.min(),
                    "below_0.05": (p < 0.05).mean(),
                    "uniform_p": uniformity(p),
                }
                for name, p in tests.items()
            },
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(repetitions: int) -> dict[str, list[float]]:
    """Contender → ns of CPU per key, one of each per repetition; contenders alternate."""
    ids = [f"customer-{number * 7919}" for number in range(WINDOW)]
    keys = [name.encode() for name in ids]
    hashes, columns = routing_keys(keys, ids, WINDOW), window()

    def routed(*experiments: Experiment, rules: tuple[Rule, ...] = ()) -> Callable[[], object]:
        routing = Routing(control(*experiments, rules=rules))
        return lambda: routing.route(hashes, columns)

    canary = Routing(control(CANARY))
    contenders: dict[str, Callable[[], object]] = {
        HASH: lambda: routing_keys(keys, ids, WINDOW),
        "sample": lambda: within(hashes, "shadow", 0.1),
        "one experiment": routed(CANARY),
        "two experiments, one of two arms": routed(CANARY, PRICE),
        "a rule of 20 keys": routed(rules=(STAFF,)),
        "a rule by a category": routed(rules=(AIRPORT,)),
        "hash and one experiment": lambda: canary.route(routing_keys(keys, ids, WINDOW), columns),
    }
    costs: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repetitions):
        for name, call in contenders.items():
            begun = time.thread_time_ns()
            for _ in range(CALLS):
                call()
            costs[name].append((time.thread_time_ns() - begun) / CALLS / WINDOW)
    return costs


def control(*experiments: Experiment, rules: tuple[Rule, ...] = ()) -> Control:
    return Control(
        "flights", 7, ModelRef("delay", 1), "", "", 0, variants=VARIANTS, rules=rules, experiments=experiments
    )


def window() -> Columns:
    """Rows of one category of 300 values."""
    columns = Columns.missing(Layout(categories=("origin",)), WINDOW)
    codes = np.random.default_rng(7).integers(0, 300, WINDOW).astype(np.int32)
    columns.categories = (Category(codes, tuple(f"A{number}" for number in range(300))),)
    return columns


def independence(keys: int) -> dict[str, NDArray[np.float64]]:
    """What was tested → the p-value of each pair."""
    hashes = hash_keys((f"customer-{number}".encode() for number in range(keys)), keys)
    drawn, arms = (
        np.array([points(hashes, name + salt) for name in EXPERIMENTS], np.float64) for salt in ("", "/arms")
    )
    correlations = np.corrcoef(drawn, arms)
    count = len(EXPERIMENTS)
    pairs = np.triu_indices(count, 1)
    return {
        "who takes part in both, chi²": np.concatenate([overlap_p(hashes, share)[pairs] for share in SHARES]),
        "points of two, correlation": correlation_p(correlations[pairs], keys),
        "share and arm of one, correlation": correlation_p(np.diagonal(correlations, count), keys),
    }


def overlap_p(hashes: NDArray[np.uint64], share: float) -> NDArray[np.float64]:
    """[experiments, experiments] by Pearson's test of the two-by-two table of who takes part, 1 degree of freedom."""
    taken = np.array([within(hashes, name, share) for name in EXPERIMENTS], np.float64)
    rows, both = len(hashes), taken @ taken.T
    ones = np.diagonal(both)
    spread = ones * (rows - ones)
    statistic = rows * (rows * both - np.outer(ones, ones)) ** 2 / np.outer(spread, spread)
    return np.asarray(2 * ndtr(-np.sqrt(statistic)))


def correlation_p(r: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
    """Of no correlation, two-sided; of so many rows r is normal with variance 1 / rows."""
    return np.asarray(2 * ndtr(-np.abs(r) * math.sqrt(rows)))


def uniformity(p: NDArray[np.float64]) -> float:
    """Of p-values being uniform: chi² over ten equal classes, 9 degrees of freedom."""
    seen, _ = np.histogram(p, bins=10, range=(0, 1))
    statistic = float(((seen - len(p) / 10) ** 2).sum() / (len(p) / 10))
    return float(gammaincc(4.5, statistic / 2))


if __name__ == "__main__":
    main()
