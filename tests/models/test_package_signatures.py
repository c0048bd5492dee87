"""Who vouches for a package: with trusted keys, what none of them signed is not touched."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest

from penstock.models.features import Catalogue
from penstock.models.package_files import SUMS, digest_of_package, verify_package, write_sums
from penstock.models.package_signatures import SIGNATURES, sign_package
from penstock.models.registry import Registry
from penstock.models.torch_runtime import load_runtime
from penstock.schemas.errors import ModelRefused
from penstock.schemas.signing import PrivateKey, TrustedKeys

KEY, OTHER = PrivateKey(bytes(32)), PrivateKey(bytes(range(32)))
TRUSTED = TrustedKeys((KEY.public("release"),))


@pytest.fixture
def copy(package: Path, tmp_path: Path) -> Path:
    return shutil.copytree(package, tmp_path / "copies" / "delay")


@pytest.fixture(params=["directory", "memory"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "directory":
        yield str(tmp_path / "registry")
        return
    yield f"memory://{uuid.uuid4().hex}/models"
    fsspec.filesystem("memory").store.clear()


def test_what_a_trusted_key_signed_is_taken(copy: Path) -> None:
    digest = digest_of_package(copy)
    sign_package(copy, OTHER)
    sign_package(copy, KEY)
    sign_package(copy, KEY)

    assert verify_package(copy, TRUSTED) == verify_package(copy)
    assert digest_of_package(copy) == digest
    assert len((copy / SIGNATURES).read_text().splitlines()) == 2
    assert [path.name for path in copy.parent.iterdir()] == ["delay"]


def test_a_package_that_nobody_signed_is_refused_with_who_should(copy: Path) -> None:
    with pytest.raises(ModelRefused, match=rf"it is not signed\. Have it signed with {KEY.public().id} \(release\)"):
        verify_package(copy, TRUSTED)


def test_a_strangers_signature_is_named(copy: Path) -> None:
    sign_package(copy, OTHER)

    with pytest.raises(ModelRefused, match=rf"signed by {OTHER.public().id}, which is not trusted here"):
        verify_package(copy, TRUSTED)


@pytest.mark.parametrize("file", ["weights.safetensors", "manifest.json", "profile.msgpack", "golden.arrow", SUMS])
def test_any_changed_byte_is_refused(copy: Path, file: str) -> None:
    sign_package(copy, KEY)
    data = bytearray((copy / file).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / file).write_bytes(data)

    with pytest.raises(ModelRefused):
        verify_package(copy, TRUSTED)


def test_whoever_makes_the_sums_anew_cannot_sign_them(copy: Path) -> None:
    sign_package(copy, KEY)
    weights = copy / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    write_sums(copy)

    verify_package(copy)  # whole, but by whom?
    with pytest.raises(ModelRefused, match=rf"its signature by {KEY.public().id} \(release\) does not verify"):
        verify_package(copy, TRUSTED)


def test_a_signature_file_that_holds_something_else_is_refused(copy: Path) -> None:
    (copy / SIGNATURES).write_text("trust me\n")
    with pytest.raises(ModelRefused, match=r"line 1 of SHA256SUMS\.sig is no signature"):
        verify_package(copy, TRUSTED)

    (copy / SIGNATURES).unlink()
    (copy / SIGNATURES).symlink_to(copy / SUMS)
    with pytest.raises(ModelRefused, match="links are not followed"):
        verify_package(copy)


def test_what_is_loaded_is_what_was_signed_whoever_looked_at_it_before(copy: Path, catalogue: Catalogue) -> None:
    sign_package(copy, KEY)
    verify_package(copy, TRUSTED)
    (copy / SIGNATURES).unlink()  # the registry is changed in between

    with pytest.raises(ModelRefused, match="not signed"):
        load_runtime(copy, catalogue, device="cpu", max_rows=64, trusted=TRUSTED)


def test_a_registry_takes_and_gives_only_what_is_signed(location: str, copy: Path, tmp_path: Path) -> None:
    open_, strict = Registry(location, cache=tmp_path / "a"), Registry(location, cache=tmp_path / "b", trusted=TRUSTED)
    with pytest.raises(ModelRefused, match="not signed"):
        strict.add(copy)
    ref = open_.add(copy)
    for reading in (strict.path, strict.manifest):
        with pytest.raises(ModelRefused, match="not signed"):
            reading(ref)

    open_.sign(ref, KEY)

    assert [signature.key_id for signature in strict.signatures(ref)] == [KEY.public().id]
    assert strict.manifest(ref).name == "delay"
    assert strict.path(ref).is_dir()


def test_a_signature_goes_with_its_package_and_costs_no_version(location: str, copy: Path, tmp_path: Path) -> None:
    registry = Registry(location, cache=tmp_path / "cache", trusted=TRUSTED)
    first = Registry(location, cache=tmp_path / "cache").add(copy)
    sign_package(copy, KEY)

    assert registry.add(copy) == first
    assert registry.path(first).is_dir()


def test_a_signature_that_was_taken_away_is_missed_in_the_cache_too(copy: Path, tmp_path: Path) -> None:
    name = uuid.uuid4().hex
    registry = Registry(f"memory://{name}", cache=tmp_path / "cache", trusted=TRUSTED)
    sign_package(copy, KEY)
    ref = registry.add(copy)
    registry.path(ref)

    fsspec.filesystem("memory").rm(f"/{name}/delay/1/{SIGNATURES}")

    with pytest.raises(ModelRefused, match="not signed"):
        registry.path(ref)
