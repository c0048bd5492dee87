"""Writes model packages from training code.

A package holds everything that serving needs except code: the network is built by a factory that the operator has
installed, so loading one never unpickles and never runs what came with it.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from penstock.models.encoding import encode_inputs
from penstock.models.factories import call, load_object
from penstock.models.features import Catalogue
from penstock.models.golden import sample_rows, write_golden
from penstock.models.package_files import (
    GOLDEN,
    MANIFEST,
    MODEL_NAME,
    PROFILE,
    SCHEMA_VERSION,
    WEIGHTS,
    Manifest,
    Tolerance,
    Training,
    verify_package,
    write_sums,
)
from penstock.models.profiling import SEGMENT_ROWS, build_profile
from penstock.models.self_test import check_golden
from penstock.models.signature import Signature
from penstock.models.tables import Table, columns_from, digest_of, only, select
from penstock.schemas.columns import Columns, Floats
from penstock.schemas.errors import ConfigurationError, ModelRefused
from penstock.schemas.profile import encode_profile
from penstock.schemas.records import ModelRef

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Manifest", "PackageRequest", "Tolerance", "package_from_factory", "verify_package", "write_package"]


@dataclass(frozen=True)
class PackageRequest:
    """What a training function gives to `penstock package module:function`: the arguments of `write_package`."""

    name: str
    network: nn.Module
    factory: str
    signature: Signature
    reference: Table | Columns
    arguments: Mapping[str, Any] = field(default_factory=dict)
    labels: ArrayLike | None = None
    times: ArrayLike | None = None
    golden: Table | Columns | None = None
    tolerance: Tolerance | None = None
    seed: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    licence: str | None = None
    segment_rows: int = SEGMENT_ROWS


def write_package(
    directory: str | Path,
    catalogue: Catalogue,
    *,
    name: str,
    network: nn.Module,
    factory: str,
    signature: Signature,
    reference: Table | Columns,
    arguments: Mapping[str, Any] | None = None,
    labels: ArrayLike | None = None,
    times: ArrayLike | None = None,
    golden: Table | Columns | None = None,
    tolerance: Tolerance | None = None,
    seed: int | None = None,
    metrics: Mapping[str, float] | None = None,
    licence: str | None = None,
    segment_rows: int = SEGMENT_ROWS,
) -> Path:
    """Write a model package and return its directory, `<directory>/<name>-<first 12 digits of its digest>`.

    Args:
        directory: where packages go; it is made if need be. The same content comes to the same directory.
        catalogue: the pipeline's features.
        name: lower-case letters, digits, - and _.
        network: trained.
        factory: `module:function` that builds an equal network; annotated to return it (a class is fine too).
        signature: the network's inputs and output.
        reference: the training features: a mapping of arrays, a pyarrow Table, a pandas DataFrame, or Columns (see
            `columns_from`), in the order of their events.
        arguments: of the factory, by name; they must be JSON.
        labels: [rows] true outcomes of the reference; their mean is the base rate.
        times: [rows] event times of the reference, Unix ms; they order it.
        golden: rows whose outputs every load must reproduce; by default 64 of the reference.
        tolerance: of the golden outputs; by default 1e-4 relative and 1e-5 absolute.
        seed: of the training.
        metrics: of the training, for people.
        licence: SPDX identifier of the model.
        segment_rows: the pipeline's `watch.segment_rows`: the reference's segments vary as the stream's will.

    Raises ConfigurationError or ModelRefused with a sentence when the parts do not fit each other. Whatever loading
    checks is checked here first, so a package that was written will load.
    """
    from safetensors.torch import save_file

    from penstock.models.torch_runtime import TorchRuntime, check_features, load_network

    if MODEL_NAME.fullmatch(name) is None:
        raise ConfigurationError(
            "package", "name", found=repr(name), expected="lower-case letters, digits, - and _, at most 64"
        )
    signature.check(catalogue, name)
    layout = only(catalogue.layout, signature.features)
    columns = select(columns_from(catalogue, reference, signature.features), layout)
    if columns.rows == 0:
        raise ConfigurationError("package", "reference", found="empty", expected="the rows of the training data")
    rows_of = {"labels": labels, "times": times}
    for key, values in rows_of.items():
        if values is not None and np.shape(values) != (columns.rows,):
            raise ConfigurationError(
                "package",
                key,
                found=f"of shape {list(np.shape(values))}",
                expected=f"[{columns.rows}], as the reference",
            )
    sample = (
        sample_rows(columns, catalogue, signature)
        if golden is None
        else select(columns_from(catalogue, golden, signature.features), layout)
    )
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        factory=factory,
        arguments=_as_json(arguments or {}),
        signature=signature,
        features={feature: str(catalogue.by_name[feature].type) for feature in signature.features},
        tolerance=tolerance or Tolerance(),
        training=Training(columns.rows, digest_of(columns), seed, dict(metrics or {}), _code_commit()),
        environment=_environment(),
        licence=licence,
    )
    check_features(manifest, catalogue, name)
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target) as temporary:
        draft = Path(temporary) / "package"
        draft.mkdir()
        state = {key: value.detach().cpu().clone().contiguous() for key, value in network.state_dict().items()}
        save_file(state, draft / WEIGHTS)
        runtime = TorchRuntime(
            load_network(draft, manifest, name), signature, layout, model=ModelRef(name, 0), max_rows=2048
        )
        runtime.prepare(sample)
        expected = runtime.outputs(sample)
        _check_outputs(expected, signature, name)
        check_golden(expected, _outputs_of(network, signature, sample, name), manifest, name)
        write_golden(draft / GOLDEN, sample, expected)
        profile = build_profile(
            columns,
            scores=runtime.score(columns).score,
            labels=None if labels is None else np.asarray(labels, np.float64),
            times=None if times is None else np.asarray(times, np.int64),
            sensitive={feature.name for feature in catalogue.features if feature.sensitive},
            segment_rows=segment_rows,
        )
        (draft / PROFILE).write_bytes(encode_profile(profile))
        (draft / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2))
        package = target / f"{name}-{write_sums(draft)[:12]}"
        verify_package(draft)
        if package.exists():
            shutil.rmtree(package)
        draft.rename(package)
    return package


def package_from_factory(target: str, directory: str | Path, catalogue: Catalogue) -> Path:
    """Call the user's `module:function` with the catalogue and write the package that it asks for.

    The function trains, or loads what was trained, and returns a `PackageRequest`:

        def train(catalogue: Catalogue) -> PackageRequest:
            table = pandas.read_parquet("january.parquet")
            columns = columns_from(catalogue, table, SIGNATURE.features)
            network = fit(encode_inputs(SIGNATURE, columns), table["late"])
            return PackageRequest(
                name="delay", network=network, factory="models.net:build", arguments={"width": 64},
                signature=SIGNATURE, reference=columns, labels=table["late"], seed=7, metrics={"auc": 0.71},
            )

    Raises ModelRefused when it cannot be found, raises or returns something else.
    """
    function = load_object(target, target)
    if not callable(function):
        raise ModelRefused(target, f"it is a {type(function).__name__}; expected a function that takes the catalogue")
    request = call(target, function, catalogue)
    if not isinstance(request, PackageRequest):
        raise ModelRefused(target, f"it returned {type(request).__name__}; expected a PackageRequest")
    return write_package(directory, catalogue, **vars(request))


def _outputs_of(network: nn.Module, signature: Signature, sample: Columns, name: str) -> Floats:
    """What the trained network itself says: a factory may take its weights and still build another one."""
    import torch

    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    tensors = encode_inputs(signature, sample).items()
    inputs = {argument: torch.from_numpy(array).to(device) for argument, array in tensors}
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            output = network(**inputs).to(device="cpu", dtype=torch.float32).numpy()
    except Exception as error:  # whatever the user's forward() raises
        raise ModelRefused(name, f"the trained network raised {type(error).__name__}: {error}") from error
    finally:
        network.train(training)
    if output.size != sample.rows * signature.output.width:
        raise ModelRefused(name, f"the trained network returned shape {list(output.shape)} for {sample.rows} rows")
    expected: Floats = output.reshape(sample.rows, -1)
    return expected


def _check_outputs(outputs: Floats, signature: Signature, name: str) -> None:
    bad = int((~np.isfinite(outputs)).any(axis=1).sum())
    if bad:
        raise ModelRefused(
            name,
            f"{bad} of {len(outputs)} golden outputs are NaN or infinite",
            fix="Missing values are NaN in a float32 input: replace them in forward(); mask=True tells them apart.",
        )
    low, high = float(outputs.min()), float(outputs.max())
    if signature.output.kind != "value" and not (low >= 0 and high <= 1):
        raise ModelRefused(
            name,
            f"golden outputs lie between {low:g} and {high:g}; expected probabilities",
            fix="End forward() with a sigmoid or softmax, or declare the output's kind as 'value'.",
        )


def _as_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(arguments)))
    except (TypeError, NotImplementedError, msgspec.EncodeError) as error:
        raise ConfigurationError(
            "package", "arguments", found=f"not JSON ({error})", expected="plain values"
        ) from error
    return plain


def _environment() -> dict[str, str]:
    versions = {package: metadata.version(package) for package in ("penstock", "torch", "numpy", "safetensors")}
    return {"python": platform.python_version(), "machine": platform.machine(), **versions}


def _code_commit() -> str | None:
    """None outside a git working tree, or without git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True, check=False, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    commit = described.stdout.strip()
    return commit if re.fullmatch(r"[0-9a-f]{40,64}(-dirty)?", commit) else None
