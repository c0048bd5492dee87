"""What self-tests have found on this host, so that a worker which is started again need not find it once more.

Each outcome is a small file under the user's cache directory, named by a digest of everything that could change it: the
package's digest, the code of the network's module, the versions of the libraries, the processor, the window. A package
has no say in it, for nothing of it is run. Checksums, signatures and golden rows are asked of every load, whatever
stands here.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import msgspec

from penstock.models.user_cache import user_cache

log = logging.getLogger("penstock.models")


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a self-test found.

    padding     rows: windows are padded to a multiple of it
    bit_stable  whether a row has the same bits in any window
    latency_us  rows → median time of a call, microseconds
    """

    padding: int
    bit_stable: bool
    latency_us: dict[int, float]


class PastTests:
    """Outcomes kept in `directory`, by default below the user's cache directory."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or user_cache() / "self-tests"

    def find(self, case: str) -> Outcome | None:
        """What was found in a case (see `case_of`); None where it was not tested on this host.

        None too for a record that somebody else could have written, or that is none.
        """
        path = self._path(case)
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                    log.warning("%s could have been written by another user: the self-test is run again", path)
                    return None
                return msgspec.json.decode(file.read(), type=Outcome)
        except (OSError, msgspec.DecodeError) as error:
            log.debug("No outcome of an earlier self-test: %s", error)
            return None

    def keep(self, case: str, outcome: Outcome) -> None:
        """Remember it; where the directory cannot be written, the next start tests again."""
        path = self._path(case)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".draft-")  # readable by its owner alone
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(outcome))
            Path(draft).replace(path)
        except OSError as error:
            log.info("The next start tests the model again, as the outcome cannot be kept: %s", error)

    def _path(self, case: str) -> Path:
        return self._directory / f"{hashlib.sha256(case.encode()).hexdigest()}.json"


def case_of(*, package: str, module: str, runtime: str, max_rows: int) -> str:
    """All that could change a self-test's outcome.

    Args:
        package: its digest.
        module: which defines the network's factory: its code is the user's, and installed beside the package.
        runtime: the library that computes, its version and the processor.
        max_rows: of a window.
    """
    source = getattr(sys.modules.get(module), "__file__", None)
    code = hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else module
    versions = [f"{name} {metadata.version(name)}" for name in ("penstock", "numpy", "safetensors")]
    return "\n".join([package, code, runtime, str(max_rows), platform.python_version(), *versions])
