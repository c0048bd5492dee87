"""What was written loads; what was changed, or does not fit, is refused with its cause."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.models.features import Catalogue, Feature
from penstock.models.golden import read_golden
from penstock.models.package import PackageRequest, package_from_factory, verify_package, write_package
from penstock.models.package_files import GOLDEN, read_profile, write_sums
from penstock.models.signature import Output, Signature, TensorInput
from penstock.models.torch_runtime import load_runtime
from penstock.schemas.columns import FeatureType
from penstock.schemas.errors import ConfigurationError, ModelRefused
from penstock.schemas.profile import NumericProfile

PLAIN_CATALOGUE = Catalogue(tuple(Feature(name, FeatureType("float"), missing="nan") for name in ("a", "b")))
PLAIN = Signature((TensorInput("x", ("a", "b")),))
REFERENCE = {"a": np.linspace(-2, 2, 100), "b": np.linspace(3, -3, 100)}


def write_plain(directory: Path, formula: str = "probability", **changes: Any) -> Path:
    from userproject import Plain  # type: ignore[import-not-found]

    request: dict[str, Any] = {
        "name": "plain",
        "network": Plain(formula),
        "factory": "userproject:Plain",
        "arguments": {"formula": formula},
        "signature": PLAIN,
        "reference": REFERENCE,
    }
    return write_package(directory, PLAIN_CATALOGUE, **{**request, **changes})


@pytest.fixture
def copy(package: Path, tmp_path: Path) -> Path:
    return shutil.copytree(package, tmp_path / "copy")


def rewrite_manifest(directory: Path, **changes: Any) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    write_sums(directory)


def test_the_manifest_says_where_the_model_comes_from(package: Path) -> None:
    manifest = verify_package(package)
    assert (manifest.name, manifest.factory, manifest.licence) == ("delay", "userproject:delay", "Apache-2.0")
    assert manifest.features["wind"] == "vector(2)"
    assert manifest.training.rows == 3000
    assert manifest.training.metrics == {"auc": 0.7}
    assert len(manifest.training.digest) == 64
    assert {"python", "torch", "numpy"} <= manifest.environment.keys()


def test_the_same_content_comes_to_the_same_directory(project: Path, tmp_path: Path) -> None:
    first = write_plain(tmp_path)
    assert write_plain(tmp_path) == first
    assert write_plain(tmp_path, seed=1) != first
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_the_sums_are_those_of_sha256sum(package: Path) -> None:
    for line in (package / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((package / name).read_bytes()).hexdigest() == digest


def test_the_profile_holds_features_scores_and_base_rate(package: Path) -> None:
    profile = read_profile(package)
    assert set(profile.features) == {"distance", "origin", "seats", "late", "wind"}
    assert isinstance(profile.scores, NumericProfile)
    assert isinstance(profile.labels, NumericProfile)
    assert profile.labels.moments.mean == 0.5
    assert profile.segment_times[0].tolist() == [0, 511_000]


def edit_weights(directory: Path) -> None:
    weights = directory / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)


def truncate_weights(directory: Path) -> None:
    weights = directory / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    write_sums(directory)


def claim_a_huge_header(directory: Path) -> None:
    weights = directory / "weights.safetensors"
    weights.write_bytes((2**60).to_bytes(8, "little") + weights.read_bytes()[8:])
    write_sums(directory)


def pickle_the_weights(directory: Path) -> None:
    (directory / "weights.safetensors").write_bytes(b"\x80\x04\x95\x20\x00\x00\x00\x00\x00\x00\x00\x8c\x02os")
    write_sums(directory)


def name_a_file_outside(directory: Path) -> None:
    sums = directory / "SHA256SUMS"
    sums.write_text(sums.read_text() + "0" * 64 + "  ../../etc/passwd\n")


def link_the_profile(directory: Path) -> None:
    profile = directory / "profile.msgpack"
    target = directory.parent / "elsewhere"
    profile.rename(target)
    profile.symlink_to(target)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (edit_weights, r"weights\.safetensors does not match SHA256SUMS"),
        (truncate_weights, r"weights\.safetensors: tensor .* does not fit|weights\.safetensors: its tensors end at"),
        (claim_a_huge_header, "its header claims 1152921504606846976 bytes"),
        (pickle_the_weights, r"weights\.safetensors: its header"),
        (name_a_file_outside, r"SHA256SUMS names '\.\./\.\./etc/passwd', which leads out of the package"),
        (link_the_profile, r"profile\.msgpack is not a plain file; links are not followed"),
        (lambda path: (path / "golden.arrow").unlink(), r"golden\.arrow is missing"),
        (lambda path: (path / "model.pkl").write_bytes(b""), r"unknown file 'model\.pkl'"),
        (lambda path: (path / "SHA256SUMS").write_text("hello"), "line 1 of SHA256SUMS is not"),
        (lambda path: rewrite_manifest(path, schema_version=99), r"schema version 99; this Penstock reads up to 1"),
        (lambda path: rewrite_manifest(path, name="../x"), r"its name '\.\./x' is not lower-case"),
        (lambda path: rewrite_manifest(path, features=3), r"manifest\.json: Expected `object`"),
        (lambda path: rewrite_manifest(path, signature={"inputs": []}), r"manifest\.json: signature: inputs is empty"),
        (shutil.rmtree, "there is no such directory"),
    ],
)
def test_a_damaged_package_is_refused_with_its_cause(
    copy: Path, damage: Callable[[Path], object], sentence: str
) -> None:
    verify_package(copy)
    damage(copy)
    with pytest.raises(ModelRefused, match=sentence):
        verify_package(copy)


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        ({"factory": "nowhere.net:build"}, "the module 'nowhere.net' of 'nowhere.net:build' cannot be found"),
        ({"factory": "broken:build"}, "the module 'broken' needs 'a_library_that_is_not_installed'"),
        ({"factory": "crashing:build"}, "importing 'crashing' raised RuntimeError: out of luck"),
        ({"factory": "userproject:missing"}, r"the module 'userproject' \(.*\) has no 'missing'"),
        ({"factory": "userproject"}, "'userproject' is not `module:function`"),
        ({"factory": "os:system", "arguments": {"command": "true"}}, "'os:system' is neither an nn.Module subclass"),
        ({"factory": "subprocess:run", "arguments": {"args": ["true"]}}, "'subprocess:run' is neither"),
        ({"factory": "userproject:unannotated", "arguments": {}}, "neither an nn.Module subclass nor a function"),
        ({"factory": "userproject:a_string", "arguments": {}}, "a_string returned str; expected an nn.Module"),
        ({"factory": "userproject:raises", "arguments": {}}, "raised ValueError: no such width"),
        ({"arguments": {"depth": 3}}, "raised TypeError: .*unexpected keyword argument 'depth'"),
        ({"arguments": {"words": 3, "hidden": 16}}, r"weights\.safetensors does not fit userproject:delay"),
        ({"features": {"distance": "int"}}, "'distance' is float in the catalogue; it was trained as int"),
    ],
)
def test_what_does_not_fit_the_installed_code_is_refused(
    copy: Path, catalogue: Catalogue, manifest: dict[str, Any], sentence: str
) -> None:
    rewrite_manifest(copy, **manifest)
    with pytest.raises(ModelRefused, match=sentence):
        load_runtime(copy, catalogue)


def test_other_golden_outputs_than_promised_are_refused(copy: Path, catalogue: Catalogue) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "weights.safetensors")
    save_file({name: tensor * 1.01 for name, tensor in weights.items()}, copy / "weights.safetensors")
    write_sums(copy)
    with pytest.raises(ModelRefused, match=r"\d+ of 64 golden outputs differ beyond 0.0001 relative"):
        load_runtime(copy, catalogue)


def test_a_model_in_service_is_held_to_its_golden_rows(package: Path, catalogue: Catalogue) -> None:
    runtime = load_runtime(package, catalogue)
    runtime.check()
    network = runtime._network
    for parameter in network.parameters():
        parameter.data *= 1.01  # as in memory that went bad
    with pytest.raises(ModelRefused, match=r"\d+ of 64 golden outputs differ"):
        runtime.check()


def test_golden_rows_that_cannot_be_read_are_refused(copy: Path, catalogue: Catalogue) -> None:
    golden = copy / GOLDEN
    for data in (b"", b"no Arrow", golden.read_bytes()[:-100]):
        golden.write_bytes(data)
        write_sums(copy)
        with pytest.raises(ModelRefused, match=r"golden\.arrow does not hold its features and outputs"):
            load_runtime(copy, catalogue)


def test_a_feature_that_the_catalogue_lost_is_refused(package: Path, catalogue: Catalogue) -> None:
    without = Catalogue(tuple(feature for feature in catalogue.features if feature.name != "seats"))
    with pytest.raises(ModelRefused, match="needs the feature 'seats', which the catalogue does not have"):
        load_runtime(package, without)


@pytest.mark.parametrize(
    ("formula", "changes", "sentence"),
    [
        ("sum", {}, "golden outputs lie between .* expected probabilities"),
        ("logarithm", {"signature": Signature(PLAIN.inputs, Output("value"))}, "of 64 golden outputs are NaN"),
        ("probability", {"arguments": {"formula": "half probability"}}, "of 64 golden outputs differ beyond"),
        ("probability", {"factory": "userproject:Nothing"}, "has no 'Nothing'"),
        ("probability", {"name": "Plain!"}, "name is 'Plain!'; expected lower-case"),
        ("probability", {"arguments": {"formula": object()}}, "arguments is not JSON"),
        ("probability", {"labels": [1, 0]}, r"labels is of shape \[2\]; expected \[100\]"),
        ("probability", {"reference": {"a": [], "b": []}}, "reference is empty"),
        ("probability", {"reference": {"a": [1.0]}}, "b is missing or unknown; expected a column of the table"),
    ],
)
def test_a_package_that_could_not_serve_is_not_written(
    project: Path, tmp_path: Path, formula: str, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises((ModelRefused, ConfigurationError), match=sentence):
        write_plain(tmp_path, formula, **changes)
    assert list(tmp_path.iterdir()) == []


def test_golden_rows_hold_no_sensitive_value(project: Path, tmp_path: Path) -> None:
    catalogue = Catalogue((PLAIN_CATALOGUE.features[0], replace(PLAIN_CATALOGUE.features[1], sensitive=True)))
    from userproject import Plain

    package = write_package(
        tmp_path, catalogue, name="plain", network=Plain("probability"), factory="userproject:Plain",
        arguments={"formula": "probability"}, signature=PLAIN, reference=REFERENCE,
    )  # fmt: skip
    rows, _ = read_golden(package / GOLDEN, catalogue.layout)
    assert len(set(rows.floats[:, 0].tolist())) == 64
    assert len(set(rows.floats[:, 1].tolist())) == 1
    assert set(read_profile(package).sample.numbers) == {"a"}


def test_a_users_function_says_what_to_package(project: Path, tmp_path: Path) -> None:
    (project / "training.py").write_text(
        "from penstock.models.package import PackageRequest\n"
        "from penstock.models.signature import Signature, TensorInput\n"
        "from userproject import Plain\n"
        "def train(catalogue):\n"
        "    signature = Signature((TensorInput('x', tuple(catalogue.by_name)),))\n"
        "    return PackageRequest(name='plain', network=Plain('probability'), factory='userproject:Plain',\n"
        "        arguments={'formula': 'probability'}, signature=signature, reference={'a': [1.0], 'b': [2.0]})\n"
        "def nothing(catalogue):\n"
        "    return None\n"
    )
    package = package_from_factory("training:train", tmp_path, PLAIN_CATALOGUE)
    assert load_runtime(package, PLAIN_CATALOGUE, max_rows=64).bit_stable
    with pytest.raises(ModelRefused, match="it returned NoneType; expected a PackageRequest"):
        package_from_factory("training:nothing", tmp_path, PLAIN_CATALOGUE)
    assert PackageRequest.__dataclass_fields__.keys() <= write_package.__annotations__.keys()


def test_a_users_own_models_folder_is_not_shadowed(tmp_path: Path) -> None:
    """Beside `models/net.py`, `models.net:Net` is the user's, though Penstock's checkout has such a folder too."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Linear):\n"
        "    def __init__(self) -> None:\n"
        "        super().__init__(1, 1)\n"
        "    def forward(self, x: torch.Tensor) -> torch.Tensor:\n"
        "        return torch.sigmoid(super().forward(x))\n"
    )
    script = (
        "from penstock.models.features import Catalogue, Feature\n"
        "from penstock.models.factories import load_object\n"
        "from penstock.models.package import write_package\n"
        "from penstock.models.signature import Signature, TensorInput\n"
        "from penstock.models.torch_runtime import load_runtime\n"
        "from penstock.schemas.columns import FeatureType\n"
        "catalogue = Catalogue((Feature('a', FeatureType('float')),))\n"
        "network = load_object('models.net:Net', 'net')()\n"
        "package = write_package('out', catalogue, name='net', network=network, factory='models.net:Net',\n"
        "    signature=Signature((TensorInput('x', ('a',)),)), reference={'a': [0.0, 1.0]})\n"
        "print(load_runtime(package, catalogue, max_rows=64).bit_stable)\n"
    )
    # -P: as for a console script, the current directory is not on the path to begin with.
    ran = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (ran.stdout.strip(), ran.returncode) == ("True", 0), ran.stderr
