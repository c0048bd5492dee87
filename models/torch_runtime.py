"""Runs a package's network with torch, on a CPU or a CUDA device by the same code.

A window is written into preallocated host arrays, padded to a multiple of 64 rows and scored in one call. Matrix
kernels choose another order of sums for another number of rows, so a row's score differs in its last bits between
window sizes; padded to 64 it did not on any CPU tried. That is no law, so `prepare` tests it at start, on this machine:
where it fails, every window is padded to the largest one; where that fails too, `bit_stable` says so.
"""

from __future__ import annotations

import platform
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from penstock.models.encoding import InputEncoder
from penstock.models.factories import build_network
from penstock.models.features import Catalogue
from penstock.models.golden import read_golden
from penstock.models.package_files import GOLDEN, WEIGHTS, Manifest, digest_of_package, verify_package
from penstock.models.past_tests import Outcome, PastTests, case_of
from penstock.models.runtime import Scores
from penstock.models.self_test import check_golden, is_bit_stable, median_us, repeated
from penstock.models.signature import FIRST_INDEX, Signature
from penstock.schemas.columns import Columns, Floats, Layout
from penstock.schemas.errors import ConfigurationError, ModelRefused
from penstock.schemas.records import ModelRef
from penstock.schemas.signing import ANYBODY, TrustedKeys

PADDING = 64
LATENCY_ROWS = (1, 32, 256, 2048)


class TorchRuntime:
    """A network behind the `Runtime` protocol. One thread at a time may call `score`."""

    def __init__(
        self,
        network: nn.Module,
        signature: Signature,
        layout: Layout,
        *,
        model: ModelRef,
        device: torch.device | None = None,
        max_rows: int = 2048,
    ) -> None:
        """Raises ModelRefused when the network fails on a window or its output has the wrong shape."""
        self.signature = signature
        self._model = model
        self._device = device or torch.device("cpu")
        self._network = network.to(self._device).eval().requires_grad_(False)
        self._max_rows = max_rows
        self._capacity = -(-max_rows // PADDING) * PADDING
        self._padding = PADDING
        self._encoder = InputEncoder(signature, layout)
        self._on_gpu = self._device.type == "cuda"
        self._host = {
            name: torch.zeros(
                (self._capacity, self._encoder.widths[name]),
                dtype=torch.int64 if dtype is np.int64 else torch.float32,
                pin_memory=self._on_gpu,
            )
            for name, dtype in self._encoder.dtypes.items()
        }
        self._arrays: dict[str, NDArray[Any]] = {name: tensor.numpy() for name, tensor in self._host.items()}
        self._there = {name: tensor.to(self._device) for name, tensor in self._host.items()}
        self._views: dict[int, tuple[dict[str, torch.Tensor], list[tuple[torch.Tensor, torch.Tensor]]]] = {}
        self._promise: tuple[Columns, Floats, Manifest] | None = None
        self.bit_stable = False
        self.latency_us: dict[int, float] = {}
        """Rows → median time of a call in microseconds, measured at start."""

    @property
    def model(self) -> ModelRef:
        return self._model

    @property
    def features(self) -> tuple[str, ...]:
        return self.signature.features

    @cached_property
    def description(self) -> str:
        return f"torch {torch.__version__}, {_processor(self._device)}"

    @property
    def padding(self) -> int:
        """Windows are padded to a multiple of this many rows."""
        return self._padding

    def score(self, columns: Columns) -> Scores:
        """The scores of any number of rows; windows larger than `max_rows` are scored in parts.

        Raises MemoryError where the device has too little memory for a window.
        """
        try:
            outputs = self.outputs(columns)
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error
        if self.signature.output.kind == "classes":
            return Scores(outputs.max(axis=1), outputs, np.logical_and.reduce(np.isfinite(outputs), axis=1))
        score = outputs[:, 0]
        return Scores(score, None, np.isfinite(score))

    def outputs(self, columns: Columns) -> Floats:
        """What `forward()` returns, [rows, output width] float32, before its meaning is applied."""
        rows = columns.rows
        if 0 < rows <= self._max_rows:
            return self._forward(columns, rows)
        parts = [columns.take(slice(start, start + self._max_rows)) for start in range(0, rows, self._max_rows)]
        if not parts:
            return np.empty((0, self.signature.output.width), np.float32)
        return np.concatenate([self._forward(part, part.rows) for part in parts])

    def promise(self, sample: Columns, expected: Floats, manifest: Manifest) -> None:
        """From now on `check` holds it to its package's golden rows: `sample` and the outputs `expected` of them."""
        self._promise = sample, expected, manifest

    def check(self) -> None:
        """Score the golden rows. Raises what the network raises; ModelRefused where its outputs differ."""
        if self._promise is None:
            self._refuse("there are no golden rows to check it by")
        sample, expected, manifest = self._promise
        check_golden(self.outputs(sample), expected, manifest, str(self._model))

    def close(self) -> None:
        """Free the device's memory; the runtime cannot score afterwards."""
        self._views.clear()
        self._there.clear()
        self._network = nn.Module()
        if self._on_gpu:
            torch.cuda.empty_cache()

    def prepare(self, sample: Columns, known: Outcome | None = None) -> Outcome:
        """Warm up, check the network on edge cases, test bit stability and measure latency, on rows of `sample`.

        With the outcome `known` of an earlier test it only warms up. Returns what was found.
        Raises ModelRefused when the network fails on a window size or on an index that its signature allows.
        """
        if known is not None and known.padding not in (PADDING, self._capacity):
            known = None
        if known is None:
            self._check_indices(sample)
        sizes = sorted({min(PADDING << power, self._capacity) for power in range(self._capacity.bit_length())})
        for size in sizes:
            self._check_shape(repeated(sample, min(size, self._max_rows)))
        found = known or self._test(sample)
        self._padding, self.bit_stable, self.latency_us = found.padding, found.bit_stable, dict(found.latency_us)
        return found

    def _test(self, sample: Columns) -> Outcome:
        around = {1, PADDING - 1, PADDING, PADDING + 1, self._max_rows // 2 + 1, self._max_rows}
        tested = {size for size in around if 0 < size <= self._max_rows}
        stable = is_bit_stable(self, sample, tested)
        if not stable and self._capacity > PADDING:
            self._padding = self._capacity
            stable = is_bit_stable(self, sample, tested)
            if not stable:
                self._padding = PADDING
        measured = [rows for rows in LATENCY_ROWS if rows <= self._max_rows]
        return Outcome(self._padding, stable, {rows: median_us(self, repeated(sample, rows)) for rows in measured})

    def _forward(self, columns: Columns, rows: int) -> Floats:
        if columns.layout is not self._encoder.layout and columns.layout != self._encoder.layout:
            self._encoder = InputEncoder(self.signature, columns.layout)
        self._encoder.encode(columns, self._arrays)
        padded = -(-rows // self._padding) * self._padding
        if padded != rows:
            for array in self._arrays.values():
                array[rows:padded] = 0
        with torch.inference_mode():
            output = self._call(padded)
            if self._on_gpu or output.dtype != torch.float32:
                output = output.to(device="cpu", dtype=torch.float32)
        # A copy: the network may return a view of its input, which the next window overwrites.
        return np.array(output.numpy().reshape(padded, -1)[:rows])

    def _call(self, padded: int) -> torch.Tensor:
        """forward() on the first `padded` rows of the host arrays."""
        inputs, copies = self._views.get(padded) or self._view(padded)
        for there, here in copies:
            there.copy_(here, non_blocking=True)
        output: torch.Tensor = self._network(**inputs)
        return output

    def _view(self, padded: int) -> tuple[dict[str, torch.Tensor], list[tuple[torch.Tensor, torch.Tensor]]]:
        source = self._there if self._on_gpu else self._host
        inputs = {name: tensor[:padded] for name, tensor in source.items()}
        copies = [(inputs[name], self._host[name][:padded]) for name in inputs] if self._on_gpu else []
        self._views[padded] = inputs, copies
        return inputs, copies

    def _check_shape(self, columns: Columns) -> None:
        """One guarded call that says what is wrong with the output instead of failing on it."""
        rows = columns.rows
        self._encoder.encode(columns, self._arrays)
        padded = -(-rows // self._padding) * self._padding
        try:
            with torch.inference_mode():
                output: object = self._call(padded)
                if self._on_gpu:
                    torch.cuda.synchronize(self._device)
        except Exception as error:  # whatever the user's forward() raises
            self._refuse(f"forward() raised {type(error).__name__} on {padded} rows: {error}")
        width = self.signature.output.width
        allowed = [[padded, width]] if self.signature.output.kind == "classes" else [[padded], [padded, 1]]
        expected = " or ".join(map(str, allowed))
        if not isinstance(output, torch.Tensor):
            self._refuse(f"forward() returned {type(output).__name__}; expected a tensor of shape {expected}")
        if list(output.shape) not in allowed:
            self._refuse(f"forward() returned shape {list(output.shape)} for {padded} rows; expected {expected}")

    def _check_indices(self, sample: Columns) -> None:
        """An embedding with too few rows would fail on the first rare value, and on CUDA take the process with it."""
        first = repeated(sample, 1)
        for tensor in (tensor for tensor in self.signature.inputs if tensor.dtype == "int64"):
            inputs = {name: torch.from_numpy(array) for name, array in self._encoder.encode(first).items()}
            words = [len(self.signature.vocabularies[feature]) for feature in tensor.features]
            inputs[tensor.name] = torch.tensor([[FIRST_INDEX + count - 1 for count in words]])
            try:
                with torch.inference_mode():
                    self._network.to("cpu")(**inputs)
            except IndexError as error:
                self._refuse(
                    f"forward() cannot take every index of its input {tensor.name!r} ({error}); a vocabulary of n "
                    f"values needs n + {FIRST_INDEX} rows in its embedding: missing, unknown, and each value"
                )
            except Exception as error:  # whatever the user's forward() raises
                self._refuse(f"forward() raised {type(error).__name__} on 1 row: {error}")
            finally:
                self._network.to(self._device)

    def _refuse(self, cause: str) -> NoReturn:
        raise ModelRefused(str(self._model), cause)


def load_runtime(
    package: Path,
    catalogue: Catalogue,
    *,
    device: str = "auto",
    max_rows: int = 2048,
    threads: int = 1,
    model: ModelRef | None = None,
    trusted: TrustedKeys = ANYBODY,
    past_tests: PastTests | None = None,
) -> TorchRuntime:
    """Verify a package and make it ready to score.

    Args:
        package: its directory.
        catalogue: of the pipeline; windows come in its layout.
        device: auto (CUDA where there is one), cpu, cuda, cuda:1, …
        max_rows: of one call; larger windows are scored in parts.
        threads: of torch in this process, which is one of several: one per core.
        model: name and version in predictions; by default from a registry's directory `<name>/<version>`, else
            version 0.
        trusted: keys of which one must have signed it, where there are any: asked of the files that are loaded, whoever
            asked before.
        past_tests: what was found with this package, processor and code is not tested again, nor measured; it is kept
            there otherwise. Files, signatures and golden outputs are checked always.

    Raises ModelRefused with the cause: files, signatures, catalogue, factory, weights, output shape, or golden outputs.
    """
    manifest = verify_package(package, trusted)
    ref = model or _ref_of(package, manifest)
    check_features(manifest, catalogue, str(ref))
    where = _device(device)
    torch.set_num_threads(threads)
    network = load_network(package, manifest, str(ref))
    runtime = TorchRuntime(network, manifest.signature, catalogue.layout, model=ref, device=where, max_rows=max_rows)
    try:
        sample, expected = read_golden(package / GOLDEN, catalogue.layout)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelRefused(str(ref), f"{GOLDEN} does not hold its features and outputs: {error}") from error
    if sample.rows == 0 or expected.shape != (sample.rows, manifest.signature.output.width):
        raise ModelRefused(str(ref), f"{GOLDEN} has {sample.rows} rows and outputs of shape {list(expected.shape)}")
    runtime.promise(sample, expected, manifest)
    if past_tests is None:
        runtime.prepare(sample)
        runtime.check()
        return runtime
    digest, module = digest_of_package(package), manifest.factory.partition(":")[0]
    case = case_of(package=digest, module=module, runtime=runtime.description, max_rows=max_rows)
    known = past_tests.find(case)
    found = runtime.prepare(sample, known)
    runtime.check()
    if found is not known:
        past_tests.keep(case, found)
    return runtime


def load_network(package: Path, manifest: Manifest, model: str) -> nn.Module:
    """Build the network by its factory and give it the package's weights. Raises ModelRefused."""
    network = build_network(manifest.factory, manifest.arguments, model)
    try:
        network.load_state_dict(load_file(package / WEIGHTS), strict=True)
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        fix = "The code and the package are of different versions: install the one, or package the model again."
        raise ModelRefused(model, f"{WEIGHTS} does not fit {manifest.factory}: {reason}", fix=fix) from error
    return network


def check_features(manifest: Manifest, catalogue: Catalogue, model: str) -> None:
    """Raises ModelRefused when the catalogue has a feature of another type than at training, or not at all."""
    manifest.signature.check(catalogue, model)
    for name in manifest.signature.features:
        found, expected = str(catalogue.by_name[name].type), manifest.features.get(name)
        if found != expected:
            fix = "Change the type in penstock.toml, or package the model again."
            raise ModelRefused(
                model, f"feature {name!r} is {found} in the catalogue; it was trained as {expected}", fix=fix
            )


def _ref_of(package: Path, manifest: Manifest) -> ModelRef:
    place = package.resolve()
    registered = place.parent.name == manifest.name and place.name.isascii() and place.name.isdigit()
    return ModelRef(manifest.name, int(place.name) if registered else 0)


def describe_device(name: str) -> str:
    """What `device = name` comes to on this machine. Raises ConfigurationError when it cannot be used."""
    device = _device(name)
    gpus = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
    return f"{device} ({gpus or 'no GPU'}), torch {torch.__version__}"


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        available = ", ".join(["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise ConfigurationError("penstock.toml", "models.device", found=repr(name), expected=available) from error
    return device


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return f"CUDA {torch.version.cuda}, {torch.cuda.get_device_name(device)}"
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{torch.backends.cpu.get_cpu_capability()}, {platform.machine()} {name}".strip()
