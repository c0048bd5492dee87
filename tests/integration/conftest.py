"""Pipelines that live as long as their test file, and the witness."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pipelines import Kafka, MakeProject, Project, Witness, make_project


@pytest.fixture(scope="module")
def project_named(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeProject]:
    """`await project_named("flights", mode="exactly_once")`; its workers end with the test file."""
    made: list[Project] = []

    async def make(name: str, *, mode: str, **options: Any) -> Project:
        directory = tmp_path_factory.mktemp("projects") / name
        made.append(await make_project(directory, kafka.servers, name, mode=mode, **options))
        return made[-1]

    yield make
    for project in made:
        project.close()


@pytest.fixture
def witness(kafka: Kafka) -> Witness:
    return Witness(kafka.servers)
