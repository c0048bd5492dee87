"""The arrows of import, the home of each third party, and that nothing is ever unpickled: read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import penstock

ROOT = Path(penstock.__file__).parent
MAY_IMPORT = {
    "schemas": {"schemas"},
    "models": {"schemas", "models"},
    "monitoring": {"schemas", "monitoring"},
    "streams": {"schemas", "models", "monitoring", "streams"},
}
MODULES = [
    pytest.param(path, id=str(path.relative_to(ROOT)))
    for package in MAY_IMPORT
    for path in sorted((ROOT / package).rglob("*.py"))
]
HOMES = {
    "torch": ("models/torch_runtime.py", "models/package.py", "models/factories.py", "streams/demo/"),
    "safetensors": ("models/torch_runtime.py", "models/package.py"),
    "prometheus_client": ("monitoring/metrics/",),
    "river": ("monitoring/detectors/",),
    "numba": ("monitoring/counting/kernels.py", "monitoring/histograms/betting.py"),
    "jinja2": ("monitoring/report/",),
    "markupsafe": ("monitoring/report/",),
    "faust": ("streams/",),
    "mode": ("streams/",),
    "aiokafka": ("streams/",),
    "google_crc32c": ("streams/transport/fetching.py",),
    "redis": ("streams/",),
    "hiredis": ("streams/features/wire.py",),
    "rich": ("streams/",),
    "typer": ("streams/",),
    "fsspec": ("models/stores.py",),
    "cryptography": ("schemas/signing.py", "schemas/sealing.py"),
}
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNPICKLING_CALLS = {
    "torch.load",
    "torch.jit.load",
    "torch.package.PackageImporter",
    "torch.hub.load",
    "torch.export.load",
    "pandas.read_pickle",
    "pd.read_pickle",
    "numpy.lib.format.read_array",
}
ANY_PICKLE = {"allow_pickle"}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it, but for what only the type checker reads."""
    yield from imported(tree_of(path))


def imported(tree: ast.Module) -> Iterator[str]:
    for_types = {
        id(statement)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for body in node.body
        for statement in ast.walk(body)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{ast.unparse(node)} imports by a relative name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES)
def test_imports_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for name in imports(path):
        parts = name.split(".")
        assert parts[0] not in MAY_IMPORT, f"{name}: write penstock.{name}"
        if parts[0] == "penstock" and len(parts) > 1 and parts[1] in MAY_IMPORT:
            assert parts[1] in MAY_IMPORT[package], f"{package} must not import {name}"


@pytest.mark.parametrize("path", MODULES)
def test_each_third_party_has_one_home(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    for name in imports(path):
        if (home := HOMES.get(name.partition(".")[0])) is not None:
            assert place.startswith(home), f"{name} belongs in {', '.join(home)}"


def unpicklings(tree: ast.Module) -> Iterator[str]:
    """What could unpickle, in imports and in calls."""
    for name in imported(tree):
        if set(name.split(".")) & UNPICKLERS or name in UNPICKLING_CALLS:
            yield name
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if (called := ast.unparse(node.func)) in UNPICKLING_CALLS:
                yield called
            yield from {keyword.arg or "" for keyword in node.keywords} & ANY_PICKLE


@pytest.mark.parametrize("path", MODULES)
def test_nothing_is_unpickled(path: Path) -> None:
    assert list(unpicklings(tree_of(path))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from joblib import load",
        "import dill as d",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=True)",  # safetensors has no such mode to forget
        "from torch import load",
        "numpy.load(path, allow_pickle=True)",
        "pandas.read_pickle(path)",
    ],
)
def test_each_way_to_unpickle_would_be_found(source: str) -> None:
    assert list(unpicklings(ast.parse(source)))


@pytest.mark.parametrize(
    "module",
    [
        "penstock.schemas.profile",
        "penstock.models.registry",
        "penstock.models.resolution",
        "penstock.streams.watch",
        "penstock.streams.judge",
        "penstock.streams.shadow",  # until there is a candidate
    ],
)
def test_torch_stays_out_of_what_does_not_need_it(module: str) -> None:
    script = f"import sys, {module}; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "False"
