"""Who vouches for a model package: signatures over its SHA256SUMS, which names every other file by its content.

They stand in a file of their own, SHA256SUMS.sig, one line each as `penstock.schemas.signing.Signature` writes it: so a
package keeps its digest, and its version, whoever signs it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from penstock.schemas.errors import ModelRefused
from penstock.schemas.signing import PrivateKey, Signature, TrustedKeys

SIGNATURES = "SHA256SUMS.sig"
_LIMIT = 65_536


def sign_sums(key: PrivateKey, sums: bytes) -> Signature:
    """`sums` is the content of SHA256SUMS."""
    return key.sign("package", sums)


def check_signatures(place: str, sums: bytes, signatures: bytes, trusted: TrustedKeys) -> None:
    """Raises ModelRefused unless a trusted key signed these sums, where any is trusted."""
    if not trusted:
        return
    cause = trusted.refusal(decode_signatures(place, signatures), "package", sums)
    if cause is not None:
        keys = ", ".join(trusted.name_of(key.id) for key in trusted.keys)
        fix = (
            f"Have it signed with {keys} (penstock models sign, or penstock package --sign); or, if you trust whoever "
            "made it, add their public key to security.trusted_keys."
        )
        raise ModelRefused(place, cause, fix=fix)


def read_signatures(directory: Path) -> bytes:
    """What a package's signature file holds; nothing where there is none. Raises ModelRefused for an absurd size."""
    path = directory / SIGNATURES
    try:
        if path.stat().st_size > _LIMIT:
            raise ModelRefused(str(directory), f"{SIGNATURES} is larger than {_LIMIT} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def decode_signatures(place: str, data: bytes) -> list[Signature]:
    """Raises ModelRefused."""
    signatures = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        try:
            signatures.append(Signature.parse(line))
        except ValueError as error:
            fix = f"Delete {SIGNATURES} and sign the package again."
            raise ModelRefused(place, f"line {number} of {SIGNATURES} is no signature: {error}", fix=fix) from error
    return signatures


def encode_signatures(signatures: Iterable[Signature]) -> bytes:
    return "".join(f"{signature}\n" for signature in signatures).encode()


def with_signatures(place: str, data: bytes, added: Sequence[Signature]) -> bytes:
    """A signature file's content with more in it; a key's newer signature replaces its older one."""
    by_key = {signature.key_id: signature for signature in [*decode_signatures(place, data), *added]}
    return encode_signatures(by_key.values())


def sign_package(directory: Path, key: PrivateKey) -> Signature:
    """Add a signature to a package's directory. The package itself is the caller's to verify before."""
    from penstock.models.package_files import SUMS

    signature = sign_sums(key, (directory / SUMS).read_bytes())
    replace_file(directory / SIGNATURES, with_signatures(str(directory), read_signatures(directory), [signature]))
    return signature


def replace_file(path: Path, data: bytes) -> None:
    """Write it whole or not at all, whoever reads or writes it meanwhile; nothing leaves no file."""
    if not data:
        path.unlink(missing_ok=True)
        return
    # Beside the directory: within it, an unknown file would have the package refused.
    descriptor, draft = tempfile.mkstemp(prefix=".signing-", dir=path.absolute().parent.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    Path(draft).chmod(0o644)
    Path(draft).replace(path)
