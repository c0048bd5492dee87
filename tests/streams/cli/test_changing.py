"""The commands that change what serves, as a person types them, against a real broker."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pipelines import make_project
from scored_blocks import NOW, block
from typer.testing import CliRunner, Result

from penstock.models.registry import Registry
from penstock.schemas.columns import Layout
from penstock.schemas.control import Decision, Staging
from penstock.schemas.gates import Evidence, Look
from penstock.schemas.records import ModelRef
from penstock.schemas.scored import encode
from penstock.streams import kafka as clients
from penstock.streams.cli import app
from penstock.streams.control import ControlPlane
from penstock.streams.settings import Settings

if TYPE_CHECKING:
    from penstock.streams.embedded.testing import Kafka

pytestmark = pytest.mark.kafka

ONE, TWO, THREE = (ModelRef("sum", version) for version in (1, 2, 3))
PLAN = """
[rollout]
stages = [0.1, 1.0]
"""


class Terminal:
    """Somebody at work on a pipeline of their own that has three models, of which none serves yet."""

    def __init__(self, file: Path, pipeline: str) -> None:
        self.environ = {"PENSTOCK_PIPELINE__NAME": pipeline, "PENSTOCK_EVENTS__TOPIC": f"{pipeline}.events"}
        self.file, self.settings = file, Settings.load(file, self.environ)
        self.plane = ControlPlane.of(self.settings)

    def types(self, line: str, *more: str) -> Result:
        arguments = [*line.split(), *more, "--config", str(self.file)]
        return CliRunner().invoke(app, arguments, env={**self.environ, "COLUMNS": "300"})

    def says(self, line: str, *more: str) -> str:
        """What a command that succeeds says, on one line."""
        result = self.types(line, *more)
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    def is_told(self, line: str, *more: str) -> tuple[int, str]:
        """Exit code and sentence of a command that does not."""
        result = self.types(line, *more)
        return result.exit_code, " ".join(result.stderr.replace("│", " ").split())

    def json(self, line: str, *more: str) -> Any:
        result = self.types(line, *more, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def notes(self, **found: Any) -> None:
        """Another process writes into the trail."""
        decision = Decision(self.plane.pipeline, 1, "noted", "judge", "", NOW, **found)
        run(self.plane.record(decision))

    def stages(self, model: ModelRef, *, passed: bool = True) -> None:
        digest = Registry(self.settings.registry_location).digest(model)
        self.notes(staging=Staging(model, digest, passed, (("the golden rows agree", passed),)))

    def logs(self, *features: str) -> None:
        """A score worker writes one block with these features into each partition of the scored log."""

        async def work() -> None:
            [record] = encode(block(3, layout=Layout(features, (), (), ())))
            async with clients.producer(self.settings.kafka) as producer:
                for partition in (0, 1):
                    await producer.send_and_wait(
                        self.settings.topics.scored.name,
                        record.value,
                        partition=partition,
                        headers=record.headers,
                    )

        run(work())


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


@pytest.fixture(scope="module")
def file(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a project with three versions of a model."""
    directory = tmp_path_factory.mktemp("changing") / "project"
    making = make_project(directory, kafka.servers, "sums", mode="at_least_once", more=PLAN, with_topics=False)
    project = asyncio.run(making)
    assert [project.package(seed=seed) for seed in (1, 2)] == [TWO, THREE]
    return project.settings.file


@pytest.fixture
def person(file: Path) -> Terminal:
    person = Terminal(file, f"sums-{uuid.uuid4().hex[:8]}")
    person.says("topics create")
    return person


def test_from_the_first_model_to_another_and_back(person: Terminal) -> None:
    pipeline = person.plane.pipeline
    code, said = person.is_told("rollback")
    assert (code, f"No model answers {pipeline} yet. Begin with a first one: penstock models use" in said) == (
        1,
        True,
    )

    said = person.says("models use sum@1 --reason start --author ada@lab")
    assert said.startswith(f"sum@1 answers {pipeline}, revision 1 Next: penstock up")
    assert (
        f"sum@1 answers {pipeline} since revision 1. Let it answer instead: penstock deploy sum@2"
        in (person.is_told("models use sum@2 --no-check")[1])
    )

    code, said = person.is_told("deploy sum@2")
    assert (code, said) == (
        4, "Model sum@2 is refused: it has not been staged. First: penstock stage sum@2. In an emergency: --force with "
        "--reason.",
    )  # fmt: skip
    person.stages(TWO, passed=False)
    assert "its staging did not pass: the golden rows agree." in person.is_told("deploy sum@2")[1]
    assert "it takes a reason" in person.is_told("deploy sum@2 --force")[1]
    person.stages(TWO)
    said = person.says("deploy sum@2 --author bob@lab", "--reason", "better in July")
    assert said.startswith(f"sum@2 answers {pipeline}, revision 2 Next: ")
    assert said.endswith("penstock rollback goes back to sum@1 at once.")

    code, said = person.is_told("rollback --expect-revision 1")
    assert (code, "is at revision 2, not 1" in said) == (5, True)
    rolled = person.json("rollback --reason complaints")
    assert (rolled["champion"], rolled["previous"], rolled["revision"]) == ("sum@1", "sum@2", 3)
    assert "sum@2 has been rolled back, sum@1 answers." in person.is_told("rollback")[1]
    said = person.says("deploy sum@1 --force --reason again --no-check")
    assert said.startswith(f"sum@1 answers {pipeline}, revision 3, as before: nothing was changed")

    assert person.says("fallback use sum@3 --no-check").startswith("sum@3 answers where sum@1 fails, and while events")
    assert person.says("fallback off").startswith("No model answers where sum@1 fails, revision 5")

    told = person.json("history")
    assert [(each["revision"], each["author"], each["reason"]) for each in told[:2]] == [
        (1, "ada@lab", "start"), (2, "bob@lab", "better in July"),
    ]  # fmt: skip
    assert [each["command"] for each in told] == [
        "use sum@1", "deploy sum@2", "rollback", "fallback use sum@3", "fallback off",
    ]  # fmt: skip
    assert "deploy sum@2; champion sum@1 → sum@2 better in July" in person.says("history")
    assert [each["command"] for each in person.json("decisions --kind staging")] == ["noted", "noted"]


def test_a_candidate_becomes_the_champion_step_by_step(person: Terminal) -> None:
    person.says("models use sum@1 --no-check")
    assert "it has not been staged" in person.is_told("canary start sum@2")[1]
    person.stages(TWO)
    started = person.json("canary start sum@2 --mode propose --no-check")
    assert (started["rollout"]["id"], started["rollout"]["share"], started["rollout"]["mode"]) == (
        "rollout-2", 0.1, "propose",
    )  # fmt: skip
    assert started["variants"] == {"canary": "sum@2"}
    assert "rollout-2 of sum@2 runs, at 10 % of the keys" in person.is_told("deploy sum@3 --force -m now --no-check")[1]

    seen = Evidence("main", "paired", "log_loss", "promote", 4200, 9, 60, 0.005, 0.025, -0.02, -0.03, -0.01)
    person.notes(look=Look("rollout-2", TWO, ONE, 0, 0.1, NOW, "promote", "better beyond doubt", (seen,)))
    assert "promote -0.0200 [-0.0300, -0.0100] against 0.005 of log_loss, paired 4,200 better beyond doubt" in (
        person.says("decisions --rollout rollout-2")
    )

    said = person.says("canary step")
    assert said.startswith("sum@2 answers 100 % of the keys, stage 2 of 2 of rollout-2; sum@1 nobody")
    assert "penstock promote goes on, penstock rollback back." in said
    assert "at the last of its stages" in person.is_told("canary step")[1]
    assert person.says("promote").startswith("sum@2 answers every key as the champion; sum@1 goes on in its shadow")
    assert person.says("promote --finish").startswith("sum@2 answers, and the rollout has ended, revision 5")
    assert "no rollout runs" in person.is_told("promote")[1]
    assert person.says("rollback").startswith("sum@1 answers every key; sum@2 answers nobody any more, revision 6")

    person.says("canary start sum@2 --no-check")
    said = person.says("canary stop")
    assert said.startswith("sum@1 answers every key; sum@2 goes on in shadow, revision 8")
    kinds = {each["command"] for each in person.json("decisions --model sum@2 --kind change")}
    assert kinds == {"canary start sum@2", "canary step", "promote", "promote --finish", "rollback", "canary stop"}


def test_a_shadow_needs_its_features_in_the_log(person: Terminal) -> None:
    person.says("models use sum@1 --no-check")
    person.logs("x0", "x1", "x2")
    code, said = person.is_told("shadow start sum@2 --no-check")
    assert code == 4
    assert "the scored log has no x3 yet; it can have it from offset 1 of partition 0, 1 of partition 1 on." in said
    person.logs("x0", "x1", "x2", "x3")
    said = person.says("shadow start sum@2 --sample 0.25")
    assert said.startswith("sum@2 scores 25 % of the keys in shadow; sum@1 answers, revision 2 Next: penstock shadow")
    assert "a sample of 0 is no share of the keys" in person.is_told("shadow start sum@2 --sample 0 --no-check")[1]
    assert "it does not run. In shadow: sum@2." in person.is_told("shadow stop sum@3")[1]
    assert person.says("shadow stop").startswith("In shadow: nobody, revision 3")
    assert person.says("shadow stop").startswith("In shadow: nobody, revision 3, as before: nothing was changed")


def test_a_canary_needs_its_features_in_the_log_too_as_it_runs_in_shadow(person: Terminal) -> None:
    person.says("models use sum@1 --no-check")
    person.stages(TWO)
    person.logs("x0", "x1", "x2")
    for options in ("", "--force --reason urgent"):
        code, said = person.is_told(f"canary start sum@2 --no-check {options}")
        assert code == 4
        assert "the scored log has no x3 yet; it can have it from offset 1 of partition 0, 1 of partition 1 on." in said
    assert person.json("routes").get("rollout") is None
    person.logs("x0", "x1", "x2", "x3")
    assert person.says("canary start sum@2 --no-check").startswith("sum@2 answers 10 % of the keys")


def test_a_rollback_waits_for_no_library_that_it_does_not_need(person: Terminal) -> None:
    person.says("models use sum@1 --no-check")
    person.says("deploy sum@2 --force --reason test --no-check")
    typed = ["rollback", "--config", str(person.file)]
    script = (
        f"import sys; from penstock.streams.cli import app; app({typed}, standalone_mode=False); print(*sys.modules)"
    )
    environ = {**os.environ, **person.environ}
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    said, *_, modules = ran.stdout.splitlines()
    assert said.startswith("sum@1 answers every key; sum@2 answers nobody any more")
    loaded = {name.partition(".")[0] for name in modules.split()}
    assert not {"torch", "numpy", "pyarrow", "faust", "river", "redis", "scipy"} & loaded
