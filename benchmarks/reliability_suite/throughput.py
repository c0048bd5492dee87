"""Both modes over the same events, in turn: how many a second one worker scores, and that each came out once."""

from __future__ import annotations

import statistics
import time
from contextlib import closing
from pathlib import Path

from reliability_suite import figures
from reliability_suite.counter import Counted, Counter, Watch
from reliability_suite.load import Generator, Load
from reliability_suite.pipeline import Pipeline
from reliability_suite.results import Figure, Result
from reliability_suite.stage import POLL_S, Options, say

FILL_RATE = 100_000
"""Events a second, before anything is measured."""
TURN_S = 600.0
ASKED = 0.85


def compare(servers: str, scratch: Path, options: Options) -> Result:
    """The ratio of the medians is that of exactly once to at least once; the events are on the topic before."""
    stamp = time.time_ns() // 10**9
    filled = Pipeline(servers, scratch, f"filled-{stamp}", mode="at_least_once", partitions=options.partitions)
    rates: dict[str, list[float]] = {"exactly_once": [], "at_least_once": []}
    counted: list[Counted] = []
    with closing(filled):
        sent = fill(filled, options)
        for turn in range(options.rounds or 5):
            for mode, seen in rates.items():
                name = f"turn-{turn}-{mode.replace('_', '-')}-{stamp}"
                counted.append(score(filled, name, mode, sent, options))
                seen.append(figures.rate(counted[-1].written))
                say(f"  turn {turn + 1}, {mode.replace('_', ' ')}: {seen[-1]:,.0f} events/s")
    return result(rates, counted)


def fill(pipeline: Pipeline, options: Options) -> int:
    """Put the events on the topic; how many they became."""
    load = Load(pipeline.servers, pipeline.events, options.partitions, FILL_RATE, options.bad_every)
    with Generator(load, pipeline.directory / "load.log") as generator:
        while generator.told.due < options.events:
            time.sleep(POLL_S)
        return generator.finish().confirmed


def score(filled: Pipeline, name: str, mode: str, sent: int, options: Options) -> Counted:
    """One worker, from nothing to the end; counted when it has stopped, so that nobody reads beside it."""
    pipeline = Pipeline(
        filled.servers, filled.directory, name,
        mode=mode, partitions=options.partitions, workers=1, events=filled.events,
    )  # fmt: skip
    with closing(pipeline):
        [worker] = pipeline.workers
        worker.start()
        if not pipeline.wait_until_done(sent, TURN_S) or worker.stop()[0] != 0:
            raise RuntimeError(f"{name} did not come to its end: see {worker.log}")
        watch = Watch(pipeline.servers, pipeline.predictions, pipeline.dead_letters, options.partitions)
        with Counter(watch, pipeline.directory / "counter.log") as counter:
            while not counter.told.at_end:
                time.sleep(POLL_S)
            return counter.verdict(sent, options.bad_every)


def result(rates: dict[str, list[float]], counted: list[Counted]) -> Result:
    verdicts = [each.verdict for each in counted if each.verdict is not None]
    exactly, at_least = (statistics.median(seen) for seen in rates.values())
    lost, doubled = sum(each.lost for each in verdicts), sum(each.doubled for each in verdicts)
    seen = f"{exactly / at_least:.3f} ({exactly:,.0f} and {at_least:,.0f} events/s)"
    return Result(
        scenario="modes",
        mode="both",
        events=sum(each.events for each in verdicts),
        predictions=sum(each.predictions for each in verdicts),
        dead_letters=sum(each.dead_letters for each in verdicts),
        lost=lost,
        doubled=doubled,
        longest_pause_s=max((pause.ended - pause.begun for each in counted for pause in each.pauses), default=0) / 1000,
        figures=[
            Figure("lost", "0", f"{lost:,}", lost == 0),
            Figure("doubled", "0", f"{doubled:,}", doubled == 0),
            Figure(
                f"exactly once / at least once, medians of {len(rates['exactly_once'])}",
                f"≥ {ASKED}",
                seen,
                exactly >= ASKED * at_least,
                promised=False,
            ),
        ],
        problems=[],
    )
