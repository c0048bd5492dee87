"""The scenario in which the workers' wall clocks jump; libfaketime (Debian's package) moves them while they run."""

from __future__ import annotations

from pathlib import Path

from reliability_suite import figures
from reliability_suite.results import Figure, Result, result, seconds
from reliability_suite.scenarios import Ground, Scenario, come_back
from reliability_suite.stage import Options, Stage

JUMPS = ("+1d", "-1h", "+0")
"""Away from the right time."""
EVERY_S = 10.0


def clock_jumps(ground: Ground, mode: str, options: Options) -> Result:
    """All workers' clocks jump a day ahead, then to an hour back, then to the right time."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        raise RuntimeError("clock-jumps needs libfaketime: apt-get install libfaketime")
    clock = ground.scratch / f"clock-{mode}"
    clock.write_text("+0")
    faked = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    told: list[int] = []

    def act(stage: Stage) -> None:
        for worker in stage.workers:
            stage.stop(worker)
            worker.environment = worker.environment | faked
            come_back(stage, worker, options)
        for _ in range(options.rounds or 3):
            for offset in JUMPS:
                stage.blow(f"clocks at {offset}", [])
                clock.write_text(offset)
                stage.wait(options.every_s or EVERY_S)
        told.extend(worker.log.read_text().count("The clock of this machine jumped") for worker in stage.workers)

    outcome = ground.outcome("clock-jumps", mode, options, act)
    jumps = len(JUMPS) * (options.rounds or 3)
    pause_s = figures.longest_pause_s(outcome.counted.pauses, outcome.blows[-jumps].time, outcome.ended)
    more = [
        seconds("longest pause of a partition after a jump", 1, pause_s),
        Figure(
            "jumps that each worker told", f"{jumps}", ", ".join(map(str, told)), all(count == jumps for count in told)
        ),
    ]
    return result("clock-jumps", outcome, more=more)


CLOCKS = {"clock-jumps": Scenario(clock_jumps)}
