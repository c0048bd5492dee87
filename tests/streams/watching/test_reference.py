"""What the stream is compared with: the champion's training data, as soon as the registry gives them."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest
from pipelines import FEATURES, Project, make_project

from penstock.models.registry import Registry
from penstock.models.registry import RegistryUnreadable as Unreadable
from penstock.streams.watching.reference import References


@pytest.fixture
async def project(tmp_path: Path) -> Project:
    return await make_project(
        tmp_path / "references", ["nowhere:9092"], "references", mode="at_least_once", with_topics=False
    )


def hangs(registry: Registry, model: object) -> NoReturn:
    raise Unreadable(registry.location, OSError("stale file handle"))


async def test_a_registry_that_cannot_be_read_now_is_asked_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    references = References(project.settings)
    with monkeypatch.context() as outage:
        outage.setattr(Registry, "path", hangs)
        with pytest.raises(Unreadable, match="stale file handle"):
            references.use("sum@1")
    found = references.profile("sum@1")
    assert found is not None
    assert set(found.features) == set(FEATURES)


async def test_a_model_that_nobody_has_leaves_the_stream_to_itself(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    references = References(project.settings)
    assert references.profile("sum@9") is None
    assert references.profile("sum@9") is None
    assert len(caplog.records) == 1
