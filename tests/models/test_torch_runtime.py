"""A loaded model gives the same bits in any window, and refuses to start with a sentence where it could not serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.models.features import Catalogue
from penstock.models.package_files import verify_package
from penstock.models.runtime import Runtime
from penstock.models.signature import Output, Signature, TensorInput
from penstock.models.torch_runtime import TorchRuntime, load_runtime
from penstock.schemas.columns import Columns, Layout
from penstock.schemas.errors import ConfigurationError, ModelRefused
from penstock.schemas.records import ModelRef

LAYOUT = Layout(("a", "b"))
PLAIN = Signature((TensorInput("x", ("a", "b")),), Output("value"))


@pytest.fixture(scope="module")
def runtime(package: Path, catalogue: Catalogue) -> TorchRuntime:
    return load_runtime(package, catalogue, device="cpu", max_rows=256)


def plain(formula: str, signature: Signature = PLAIN, max_rows: int = 256) -> TorchRuntime:
    from userproject import Plain  # type: ignore[import-not-found]

    return TorchRuntime(Plain(formula), signature, LAYOUT, model=ModelRef("plain", 1), max_rows=max_rows)


def numbers(rows: int, seed: int = 1) -> Columns:
    columns = Columns.missing(LAYOUT, rows)
    columns.floats[:] = np.random.default_rng(seed).normal(size=(rows, 2))
    return columns


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2999), st.integers(1, 700), st.integers(0, 2999))
def test_a_rows_score_is_the_same_bits_in_any_window(
    runtime: TorchRuntime, flights: Columns, start: int, rows: int, seed: int
) -> None:
    assert runtime.bit_stable
    alone = runtime.score(flights).score
    chosen = (start + np.random.default_rng(seed).permutation(rows)) % flights.rows
    found = runtime.score(flights.take(chosen)).score
    assert found.tobytes() == alone[chosen].tobytes()


def test_it_is_a_runtime(runtime: TorchRuntime, package: Path) -> None:
    kept: Runtime = runtime
    assert kept.model == ModelRef("delay", 0)
    assert kept.features == ("distance", "seats", "late", "origin", "wind")
    assert kept.description.startswith(f"torch {torch.__version__}, ")
    assert set(runtime.latency_us) == {1, 32, 256}
    assert min(runtime.latency_us.values()) > 0


def test_scores_equal_the_network_itself(runtime: TorchRuntime, package: Path, flights: Columns) -> None:
    from penstock.models.encoding import encode_inputs
    from penstock.models.torch_runtime import load_network

    manifest = verify_package(package)
    network = load_network(package, manifest, "delay").eval()
    inputs = {name: torch.from_numpy(array) for name, array in encode_inputs(manifest.signature, flights).items()}
    with torch.inference_mode():
        expected = network(**inputs)[:, 0].numpy()
    scores = runtime.score(flights)
    np.testing.assert_allclose(scores.score, expected, rtol=1e-5)
    assert scores.scores is None
    assert scores.finite.all()


def test_no_rows_give_no_scores(runtime: TorchRuntime, flights: Columns) -> None:
    assert runtime.score(flights.take(slice(0, 0))).score.shape == (0,)


def test_columns_in_another_layout_give_the_same_scores(
    runtime: TorchRuntime, flights: Columns, catalogue: Catalogue
) -> None:
    from penstock.models.tables import only, select

    fewer = select(flights, only(catalogue.layout, runtime.features))
    assert runtime.score(fewer).score.tobytes() == runtime.score(flights).score.tobytes()


def test_rows_that_are_not_finite_are_told_apart(project: Path) -> None:
    columns = numbers(4)
    columns.floats[:] = np.array([[1, 1], [0, 0], [-1, -1], [np.nan, 0]])
    scores = plain("logarithm").score(columns)
    assert scores.finite.tolist() == [True, False, False, False]


def test_classes_keep_their_vector(project: Path) -> None:
    runtime = plain("softmax", Signature(PLAIN.inputs, Output("classes", ("no", "yes"))))
    columns = numbers(5)
    scores = runtime.score(columns)
    assert scores.scores is not None
    np.testing.assert_allclose(scores.scores.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(scores.score, scores.scores.max(1))


def test_other_number_types_come_as_float32(project: Path) -> None:
    assert plain("half").score(numbers(3)).score.dtype == np.float32


def test_a_network_that_returns_its_input_does_not_see_the_next_window(project: Path) -> None:
    runtime = plain("input itself")
    first, second = numbers(64, seed=1), numbers(64, seed=2)
    scores = runtime.score(first).score
    runtime.score(second)
    np.testing.assert_array_equal(scores, first.floats[:, 0])


@pytest.mark.parametrize(
    ("formula", "stable", "padding"),
    [("sum", True, 64), ("batch size", True, 256), ("mean of the batch", False, 64)],
)
def test_the_self_test_pads_further_where_that_helps_and_says_where_it_does_not(
    project: Path, formula: str, stable: bool, padding: int
) -> None:
    runtime = plain(formula)
    runtime.prepare(numbers(64))
    assert (runtime.bit_stable, runtime.padding) == (stable, padding)


@pytest.mark.parametrize(
    ("formula", "sentence"),
    [
        ("two columns", r"returned shape \[64, 2\] for 64 rows; expected \[64\] or \[64, 1\]"),
        ("list", r"returned list; expected a tensor of shape \[64\] or \[64, 1\]"),
        ("nothing", r"forward\(\) raised AttributeError on 64 rows: .*nowhere"),
    ],
)
def test_an_output_of_another_shape_is_refused(project: Path, formula: str, sentence: str) -> None:
    with pytest.raises(ModelRefused, match=sentence):
        plain(formula).prepare(numbers(64))


def test_an_embedding_too_small_for_its_vocabulary_is_refused(
    project: Path, signature: Signature, catalogue: Catalogue, flights: Columns
) -> None:
    from userproject import Delay

    runtime = TorchRuntime(Delay(words=2), signature, catalogue.layout, model=ModelRef("delay", 1))
    with pytest.raises(ModelRefused, match=r"cannot take every index of its input 'origin'.*needs n \+ 2 rows"):
        runtime.prepare(flights.take(slice(0, 1)))


def test_an_unknown_device_names_those_there_are(package: Path, catalogue: Catalogue) -> None:
    with pytest.raises(ConfigurationError, match=r"models\.device is 'abacus'; expected auto, cpu"):
        load_runtime(package, catalogue, device="abacus")


def test_a_registrys_directory_names_the_version(package: Path, catalogue: Catalogue, tmp_path: Path) -> None:
    import shutil

    place = tmp_path / "delay" / "12"
    shutil.copytree(package, place)
    assert load_runtime(place, catalogue, max_rows=64).model == ModelRef("delay", 12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_code_runs_on_cuda(package: Path, catalogue: Catalogue, runtime: TorchRuntime, flights: Any) -> None:
    there = load_runtime(package, catalogue, device="cuda", max_rows=256)
    assert there.bit_stable
    np.testing.assert_allclose(there.score(flights).score, runtime.score(flights).score, rtol=1e-4, atol=1e-5)


class Hungry(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def test_a_device_without_enough_memory_is_a_memory_error() -> None:
    hungry = TorchRuntime(Hungry(), PLAIN, LAYOUT, model=ModelRef("hungry", 1), max_rows=256)
    with pytest.raises(MemoryError, match="Tried to allocate"):
        hungry.score(numbers(3))
