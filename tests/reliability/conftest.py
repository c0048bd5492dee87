"""Projects that end with their test, and the witness."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipelines import Kafka, MakeProject, Project, Witness, make_project


@pytest.fixture
def project_named(kafka: Kafka, tmp_path: Path) -> Iterator[MakeProject]:
    """`await project_named("flights", mode="exactly_once")`; its workers end with the test."""
    made: list[Project] = []

    async def make(name: str, *, mode: str, **options: Any) -> Project:
        made.append(await make_project(tmp_path / name, kafka.servers, name, mode=mode, **options))
        return made[-1]

    yield make
    for project in made:
        project.close()


@pytest.fixture
def witness(kafka: Kafka) -> Witness:
    return Witness(kafka.servers)
