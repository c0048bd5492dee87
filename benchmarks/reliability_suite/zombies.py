"""The scenario in which workers stand still until others have their partitions, and then wake up and go on."""

from __future__ import annotations

from reliability_suite import figures
from reliability_suite.pipeline import ScoreWorker
from reliability_suite.results import Figure, Result, result, seconds
from reliability_suite.scenarios import SERVED_S, Ground, Scenario, settle
from reliability_suite.stage import Options, Stage

STILL_S = 5.0
"""So long its heirs have its partitions before a worker wakes up."""
HEARD_S = 2.0
"""Some heartbeats: until a worker that woke up hears that its partitions are others'."""
FENCED = "exit code 70: "
"""How a worker ends that finds its partitions to be somebody else's, exactly once."""


def zombies(ground: Ground, mode: str, options: Options) -> Result:
    """SIGSTOP to each worker in turn, SIGCONT when its partitions are served by the other one.

    At least once, the heir repeats a commit interval, and what the sleeper had on its way may come behind it.
    """

    def act(stage: Stage) -> None:
        for turn in range(options.rounds or 3):
            sleeper = stage.workers[turn % len(stage.workers)]
            stage.blow(f"SIGSTOP of worker {sleeper.number}", sleeper.owns)
            sleeper.stand_still()
            stage.wait_until(lambda: stage.serves(stage.blows[-1].time + figures.AT_ONCE_MS), SERVED_S)
            stage.wait(STILL_S)
            wake_up(stage, sleeper)
            settle(stage, options)

    outcome = ground.outcome("zombies", mode, options, act)
    crashes = [problem for problem in outcome.problems if FENCED in problem]
    if mode == "exactly_once":  # so it is meant
        outcome.problems = [problem for problem in outcome.problems if problem not in crashes]
    again = [figures.served_again_s(outcome.counted.pauses, blow.time, blow.partitions) for blow in outcome.blows]
    more = [
        Figure("sleepers that ended when they woke up", "–", f"{len(crashes)} of {len(outcome.blows)}"),
        seconds("sleeper's partitions served again", 10, max(again)),
    ]
    return result("zombies", outcome, intervals=2, more=more)


def wake_up(stage: Stage, sleeper: ScoreWorker) -> None:
    """It ends and is started again, or joins again; either way it has partitions in the end."""
    sleeper.wake_up()
    stage.wait_until(lambda: not sleeper.runs, HEARD_S)
    stage.wait_until(lambda: sleeper.runs and bool(sleeper.owns), SERVED_S)


ZOMBIES = {"zombies": Scenario(zombies)}
