"""Loading a package unpickles nothing: Python itself is asked, whatever library does it on our behalf."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.models.features import Catalogue
from penstock.models.package_files import read_profile
from penstock.models.registry import Registry
from penstock.models.torch_runtime import load_runtime


class Watch:
    """What was unpickled while `open`. An audit hook stays for the life of the process."""

    def __init__(self) -> None:
        self.open, self.seen = False, list[str]()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.open and event == "pickle.find_class":
            self.seen.append(".".join(map(str, arguments)))


WATCH = Watch()


@pytest.fixture
def unpickled() -> Iterator[list[str]]:
    WATCH.seen.clear()
    WATCH.open = True
    yield WATCH.seen
    WATCH.open = False


def test_a_package_loads_without(unpickled: list[str], package: Path, catalogue: Catalogue, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    directory = registry.path(registry.add(package))

    read_profile(directory)
    load_runtime(directory, catalogue, device="cpu", max_rows=64).close()

    assert unpickled == []


def test_the_watch_would_notice(unpickled: list[str]) -> None:
    pickle.loads(pickle.dumps(Path("weights.pt")))  # noqa: S301

    assert unpickled
