"""The files of a model package, and the checks that they pass before anything of them is used.

A package is one directory of exactly these files; its digest is the SHA-256 of SHA256SUMS, which names all others:

    manifest.json        what the model is: signature, factory, training data, environment
    weights.safetensors  the network's state
    profile.msgpack      the reference profile (`penstock.schemas.profile`)
    golden.arrow         sample inputs with expected outputs
    SHA256SUMS           as `sha256sum` writes and checks it
    SHA256SUMS.sig       signatures, where somebody signed it (`penstock.models.package_signatures`)
"""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from penstock.models.package_signatures import SIGNATURES, check_signatures, read_signatures
from penstock.models.signature import Signature
from penstock.schemas.errors import ConfigurationError, ModelRefused
from penstock.schemas.profile import ReferenceProfile, UnreadableProfile, decode_profile
from penstock.schemas.signing import ANYBODY, TrustedKeys

MANIFEST, WEIGHTS, PROFILE, GOLDEN, SUMS = (
    "manifest.json",
    "weights.safetensors",
    "profile.msgpack",
    "golden.arrow",
    "SHA256SUMS",
)
CONTENTS = (MANIFEST, WEIGHTS, PROFILE, GOLDEN)
PACKAGE_FILES = (*CONTENTS, SUMS)
"""Those that every package has."""
SCHEMA_VERSION = 1

MODEL_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_SUM = re.compile(r"([0-9a-f]{64})  (.+)")
_MAX_HEADER = 100_000_000
_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}


class Tolerance(msgspec.Struct, frozen=True):
    """|output − expected| ≤ absolute + relative · |expected|, as in numpy.isclose."""

    relative: float = 1e-4
    absolute: float = 1e-5


class Training(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the weights come from."""

    rows: int
    digest: str
    """SHA-256 of the reference columns (`penstock.models.tables.digest_of`)."""
    seed: int | None = None
    metrics: dict[str, float] = {}
    code_commit: str | None = None
    """`git describe --always --dirty` where the package was written."""


class Manifest(msgspec.Struct, frozen=True):
    """What a package says of itself. Its version is given by the registry."""

    schema_version: int
    name: str
    factory: str
    arguments: dict[str, Any]
    signature: Signature
    features: dict[str, str]
    """Feature → type, as the catalogue had it at training."""
    tolerance: Tolerance
    training: Training
    environment: dict[str, str]
    licence: str | None = None


class _Version(msgspec.Struct):
    schema_version: int


def write_sums(directory: Path) -> str:
    """Write SHA256SUMS for the other files and return the package's digest."""
    lines = "".join(f"{sha256_of(directory / name)}  {name}\n" for name in sorted(CONTENTS))
    (directory / SUMS).write_text(lines, encoding="utf-8")
    return digest_of_package(directory)


def digest_of_package(directory: Path) -> str:
    """SHA-256 of SHA256SUMS, in hexadecimal: equal exactly where all contents are equal."""
    return sha256_of(directory / SUMS)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_package(directory: Path, trusted: TrustedKeys = ANYBODY) -> Manifest:
    """Check a package's files without running anything of it, and return its manifest.

    Raises ModelRefused: a file is missing, unknown, a link, or does not match SHA256SUMS; no trusted key signed it,
    where any is trusted; a name in SHA256SUMS leads out of the directory; the manifest is of a newer schema or
    contradicts itself; the safetensors header is not sound.
    """
    place = str(directory)
    if not directory.is_dir():
        raise ModelRefused(place, "there is no such directory", fix="Write it with `penstock package`.")
    found = {entry.name: entry for entry in directory.iterdir()}
    known = (*PACKAGE_FILES, SIGNATURES)
    for name in sorted(found.keys() - set(known)):
        raise ModelRefused(place, f"it holds the unknown file {name!r}; expected only {', '.join(known)}")
    for name in PACKAGE_FILES:
        if name not in found:
            raise ModelRefused(place, f"{name} is missing", fix="Package the model again.")
    for name in found:
        if found[name].is_symlink() or not found[name].is_file():
            raise ModelRefused(place, f"{name} is not a plain file; links are not followed")
    sums = (directory / SUMS).read_bytes()
    check_signatures(place, sums, read_signatures(directory), trusted)
    _check_sums(directory, sums)
    manifest = _read_manifest(directory)
    _check_safetensors(directory)
    return manifest


def read_profile(directory: Path) -> ReferenceProfile:
    """Raises ModelRefused when the profile cannot be read."""
    try:
        return decode_profile((directory / PROFILE).read_bytes())
    except UnreadableProfile as error:
        raise ModelRefused(str(directory), f"{PROFILE}: {error}", fix="Package the model again.") from error


def _check_sums(directory: Path, content: bytes) -> None:
    sums: dict[str, str] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        entry = _SUM.fullmatch(line)
        if entry is None:
            raise ModelRefused(str(directory), f"line {number} of {SUMS} is not `<64 hexadecimal digits>  <file>`")
        if entry[2] not in CONTENTS:
            outside = "/" in entry[2] or "\\" in entry[2] or entry[2] == ".."
            cause = "leads out of the package" if outside else "is not a file of a package"
            raise ModelRefused(str(directory), f"{SUMS} names {entry[2]!r}, which {cause}")
        sums[entry[2]] = entry[1]
    for name in CONTENTS:
        if name not in sums:
            raise ModelRefused(str(directory), f"{SUMS} does not name {name}", fix="Package the model again.")
        if sha256_of(directory / name) != sums[name]:
            raise ModelRefused(str(directory), f"{name} does not match {SUMS}", fix="Copy or package the model again.")


def _read_manifest(directory: Path) -> Manifest:
    data = (directory / MANIFEST).read_bytes()
    try:
        version = msgspec.json.decode(data, type=_Version).schema_version
        if version > SCHEMA_VERSION:
            raise ModelRefused(
                str(directory),
                f"its manifest has schema version {version}; this Penstock reads up to {SCHEMA_VERSION}",
                fix="Upgrade Penstock, or package the model with this one.",
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ConfigurationError) as error:
        raise ModelRefused(str(directory), f"{MANIFEST}: {error}", fix="Package the model again.") from error
    if MODEL_NAME.fullmatch(manifest.name) is None:
        raise ModelRefused(str(directory), f"its name {manifest.name!r} is not lower-case letters, digits, - and _")
    return manifest


def _check_safetensors(directory: Path) -> None:
    """The header names tensors that lie side by side, fill the file exactly, and have room for their elements."""

    def refuse(cause: str) -> NoReturn:
        raise ModelRefused(str(directory), f"{WEIGHTS}: {cause}", fix="Package the model again.")

    path = directory / WEIGHTS
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER):
            refuse(f"its header claims {length} bytes, the file has {size}")
        header = file.read(length)
    try:
        tensors = msgspec.json.decode(header, type=dict[str, dict[str, Any]])
        tensors.pop("__metadata__", None)
        spans = msgspec.convert(tensors, dict[str, _Span])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        refuse(f"its header is not sound: {error}")
    end = 0
    for name, span in sorted(spans.items(), key=lambda item: item[1].data_offsets):
        start, stop = span.data_offsets
        bits = _BITS.get(span.dtype)
        if bits is None:
            refuse(f"tensor {name!r} has the unknown dtype {span.dtype!r}")
        if min(span.shape, default=0) < 0 or start != end or (stop - start) * 8 != math.prod(span.shape) * bits:
            refuse(f"tensor {name!r} does not fit its place in the file")
        end = stop
    if 8 + length + end != size:
        refuse(f"its tensors end at byte {8 + length + end}, the file at {size}")


class _Span(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]
