"""A package that passed its self-test on this host is not tested again; what vouches for it is asked all the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from penstock.models import torch_runtime
from penstock.models.features import Catalogue
from penstock.models.past_tests import Outcome, PastTests, case_of
from penstock.models.self_test import is_bit_stable
from penstock.models.torch_runtime import TorchRuntime, load_runtime
from penstock.schemas.errors import ModelRefused
from penstock.schemas.signing import PrivateKey, TrustedKeys

OUTCOME = Outcome(64, True, {1: 12.5, 256: 80.0})


@pytest.fixture
def past_tests(tmp_path: Path) -> PastTests:
    return PastTests(tmp_path / "self-tests")


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows with each test of bit stability."""
    runs: list[object] = []

    def test(scorer: TorchRuntime, *case: object) -> bool:
        runs.append(case)
        return is_bit_stable(scorer, *case)  # type: ignore[arg-type]

    monkeypatch.setattr(torch_runtime, "is_bit_stable", test)
    return runs


def test_a_second_start_takes_over_what_the_first_one_found(
    package: Path, catalogue: Catalogue, past_tests: PastTests, tested: list[object]
) -> None:
    first = load_runtime(package, catalogue, max_rows=64, past_tests=past_tests)
    assert len(tested) == 1
    second = load_runtime(package, catalogue, max_rows=64, past_tests=past_tests)
    assert len(tested) == 1
    assert (second.bit_stable, second.padding, second.latency_us) == (first.bit_stable, 64, first.latency_us)


def test_another_window_is_tested_anew(
    package: Path, catalogue: Catalogue, past_tests: PastTests, tested: list[object]
) -> None:
    for max_rows in (64, 128):
        load_runtime(package, catalogue, max_rows=max_rows, past_tests=past_tests)
    assert len(tested) == 2


def test_a_changed_byte_is_found_whatever_was_tested_before(
    package: Path, catalogue: Catalogue, past_tests: PastTests, tmp_path: Path
) -> None:
    copy = shutil.copytree(package, tmp_path / "copy")
    load_runtime(copy, catalogue, max_rows=64, past_tests=past_tests)
    weights = copy / "weights.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    with pytest.raises(ModelRefused, match="SHA256SUMS"):
        load_runtime(copy, catalogue, max_rows=64, past_tests=past_tests)


def test_a_signature_is_asked_for_whatever_was_tested_before(
    package: Path, catalogue: Catalogue, past_tests: PastTests
) -> None:
    load_runtime(package, catalogue, max_rows=64, past_tests=past_tests)
    somebody = TrustedKeys((PrivateKey(bytes(32)).public("somebody"),))
    with pytest.raises(ModelRefused, match="sign"):
        load_runtime(package, catalogue, max_rows=64, past_tests=past_tests, trusted=somebody)


def test_a_network_that_computes_something_else_is_refused_whatever_was_tested_before(
    package: Path, catalogue: Catalogue, past_tests: PastTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_runtime(package, catalogue, max_rows=64, past_tests=past_tests)
    outputs = TorchRuntime.outputs
    monkeypatch.setattr(TorchRuntime, "outputs", lambda runtime, columns: outputs(runtime, columns) + 0.1)
    with pytest.raises(ModelRefused, match="golden outputs differ"):
        load_runtime(package, catalogue, max_rows=64, past_tests=past_tests)


def test_a_padding_that_cannot_be_is_tested_anew(
    package: Path, catalogue: Catalogue, tmp_path: Path, tested: list[object]
) -> None:
    class Wrong(PastTests):
        def find(self, case: str) -> Outcome | None:
            return Outcome(63, True, {})

    assert load_runtime(package, catalogue, max_rows=64, past_tests=Wrong(tmp_path)).padding == 64
    assert len(tested) == 1


def test_what_is_kept_is_found_in_its_own_case_only(past_tests: PastTests) -> None:
    case = {"package": "ab", "module": "net", "runtime": "torch 2", "max_rows": 64}
    past_tests.keep(case_of(**case), OUTCOME)  # type: ignore[arg-type]
    assert past_tests.find(case_of(**case)) == OUTCOME  # type: ignore[arg-type]
    for name, other in {"package": "cd", "module": "other", "runtime": "torch 3", "max_rows": 65}.items():
        assert past_tests.find(case_of(**case | {name: other})) is None  # type: ignore[arg-type]


def test_changed_code_of_the_network_is_another_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "changing_network.py"
    module.write_text("factor = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import changing_network  # type: ignore[import-not-found]  # noqa: F401

    before = case_of(package="ab", module="changing_network", runtime="torch 2", max_rows=64)
    module.write_text("factor = 2\n")
    assert case_of(package="ab", module="changing_network", runtime="torch 2", max_rows=64) != before


def test_what_another_user_could_have_written_is_not_believed(
    past_tests: PastTests, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    past_tests.keep("case", OUTCOME)
    [record] = (tmp_path / "self-tests").glob("*.json")
    assert record.stat().st_mode & 0o077 == 0
    record.chmod(0o622)
    assert past_tests.find("case") is None
    assert "another user" in caplog.text


@pytest.mark.parametrize("found", [b"", b"{}", b'{"padding": "64"}', b"\xff"])
def test_a_record_that_is_none_is_as_good_as_none(past_tests: PastTests, tmp_path: Path, found: bytes) -> None:
    past_tests.keep("case", OUTCOME)
    [record] = (tmp_path / "self-tests").glob("*.json")
    record.write_bytes(found)
    assert past_tests.find("case") is None


def test_a_place_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    past_tests = PastTests(tmp_path / "file")
    past_tests.keep("case", OUTCOME)
    assert past_tests.find("case") is None
