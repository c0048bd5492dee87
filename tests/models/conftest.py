"""A user's project: a network in a module of its own, a catalogue, and a package made from them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.models.features import Catalogue, Feature
from penstock.models.package import write_package
from penstock.models.signature import Signature, TensorInput
from penstock.models.tables import columns_from
from penstock.schemas.columns import Columns, FeatureType

NETWORKS = '''
import torch
from torch import Tensor, nn


class Delay(nn.Module):
    """Numbers with their mask, one embedding, one vector."""

    def __init__(self, words: int = 3, hidden: int = 32) -> None:
        super().__init__()
        self.places = nn.Embedding(words + 2, 4)
        self.net = nn.Sequential(nn.Linear(3 + 3 + 4 + 2, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, numbers: Tensor, numbers_missing: Tensor, origin: Tensor, wind: Tensor) -> Tensor:
        known = torch.nan_to_num(numbers)
        parts = [known, numbers_missing, self.places(origin[:, 0]), torch.nan_to_num(wind)]
        return torch.sigmoid(self.net(torch.cat(parts, dim=1)))


def delay(words: int = 3, hidden: int = 32) -> Delay:
    return Delay(words, hidden)


class Plain(nn.Module):
    """What `formula` makes of x, through a weight that is 1."""

    def __init__(self, formula: str = "x.sum(1)") -> None:
        super().__init__()
        self.formula = formula
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return FORMULAS[self.formula](x * self.one, x)


FORMULAS = {
    "sum": lambda y, x: y.sum(1),
    "probability": lambda y, x: torch.sigmoid(y.sum(1)),
    "half probability": lambda y, x: torch.sigmoid(y.sum(1)) / 2,
    "input itself": lambda y, x: x[:, :1],
    "batch size": lambda y, x: y.sum(1) + 1e-3 * x.shape[0],
    "mean of the batch": lambda y, x: y.sum(1) + y.mean(),
    "two columns": lambda y, x: y,
    "softmax": lambda y, x: torch.softmax(y, 1),
    "list": lambda y, x: [y],
    "nothing": lambda y, x: y.nowhere,
    "half": lambda y, x: y.sum(1).double(),
    "logarithm": lambda y, x: torch.log(y.sum(1)),
}


def unannotated():
    return Plain()


def a_string() -> nn.Module:
    return "network"


def raises() -> nn.Module:
    raise ValueError("no such width")
'''


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory on the module path with the user's module `userproject`."""
    directory = tmp_path_factory.mktemp("project")
    (directory / "userproject.py").write_text(NETWORKS)
    (directory / "broken.py").write_text("import a_library_that_is_not_installed\n")
    (directory / "crashing.py").write_text("raise RuntimeError('out of luck')\n")
    sys.path.insert(0, str(directory))
    yield directory
    sys.path.remove(str(directory))


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return Catalogue(
        (
            Feature("distance", FeatureType("float"), missing="nan"),
            Feature("origin", FeatureType("category"), missing="nan"),
            Feature("seats", FeatureType("int"), missing="nan"),
            Feature("late", FeatureType("bool"), missing="default", default=0),
            Feature("wind", FeatureType("vector", 2), missing="nan"),
            Feature("unused", FeatureType("float"), missing="nan"),
        )
    )


@pytest.fixture(scope="session")
def signature() -> Signature:
    return Signature(
        (
            TensorInput("numbers", ("distance", "seats", "late"), mask=True),
            TensorInput("origin", ("origin",), dtype="int64"),
            TensorInput("wind", ("wind",)),
        ),
        vocabularies={"origin": ("EWR", "JFK", "LGA")},
    )


def table_of(rows: int, seed: int = 0) -> dict[str, Any]:
    """Flights with every kind of value, some of each missing."""
    random = np.random.default_rng(seed)
    some = random.random((4, rows)) < 0.1
    return {
        "distance": np.where(some[0], np.nan, random.normal(size=rows)),
        "origin": [None if some[1, i] else ("EWR", "JFK", "LGA", "ORD")[i % 4] for i in range(rows)],
        "seats": [None if some[2, i] else i % 9 for i in range(rows)],
        "late": [bool(i % 2) for i in range(rows)],
        "wind": [None if some[3, i] else random.normal(size=2) for i in range(rows)],
        "unused": np.zeros(rows),
    }


@pytest.fixture(scope="session")
def flights(catalogue: Catalogue) -> Columns:
    return columns_from(catalogue, table_of(3000))


@pytest.fixture(scope="session")
def package(
    project: Path, catalogue: Catalogue, signature: Signature, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    import torch
    from userproject import Delay  # type: ignore[import-not-found]

    torch.manual_seed(7)
    return write_package(
        tmp_path_factory.mktemp("packages"),
        catalogue,
        name="delay",
        network=Delay(),
        factory="userproject:delay",
        arguments={"words": 3, "hidden": 32},
        signature=signature,
        reference=table_of(3000),
        labels=np.arange(3000) % 2,
        times=np.arange(3000) * 1000,
        seed=7,
        metrics={"auc": 0.7},
        licence="Apache-2.0",
    )
