"""The demo's folder: a temporary one, or one that the user names and that keeps everything until the next run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock.schemas.errors import ConfigurationError
from penstock.streams.embedded.processes import DirectoryLock

_MARK = ".penstock-demo"
_MADE_ANEW = ("kafka", "redis", "registry", "packages")
_PATIENCE_S = 15.0
"""How long the servers of a run that was killed may take to end."""


@dataclass(frozen=True)
class Folder:
    """`path` holds penstock.toml, kafka/, redis/, registry/ and logs; `lock` is held while the demo runs."""

    path: Path
    lock: DirectoryLock


@contextmanager
def demo_folder(data: Path | None) -> Iterator[Folder]:
    """A folder to run in. Every run starts clean: what an earlier run left in `data` is removed first.

    Raises DirectoryInUse when another demo runs there, and ConfigurationError when `data` holds other files: nothing of
    anybody else's is ever removed.
    """
    with ExitStack() as stack:
        if data is None:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-demo-")))
        else:
            path = data.absolute()
            if path.exists() and not path.is_dir():
                raise _unusable(data, "a file")
            if path.exists() and any(path.iterdir()) and not (path / _MARK).exists():
                raise _unusable(data, "a folder with other files")
            path.mkdir(parents=True, exist_ok=True)
            (path / _MARK).touch()
        lock = DirectoryLock(path)
        lock.acquire(patience_s=_PATIENCE_S)
        stack.callback(lock.release)
        for name in _MADE_ANEW:
            _remove(path / name)
        yield Folder(path, lock)


def _remove(folder: Path) -> None:
    """Waits for a server whose parent was killed: it still writes there until it ends."""
    if folder.exists():
        lock = DirectoryLock(folder)
        lock.acquire(patience_s=_PATIENCE_S)
        try:
            shutil.rmtree(folder)
        finally:
            lock.release()


def _unusable(data: Path, found: str) -> ConfigurationError:
    return ConfigurationError(
        "penstock demo", "--data", found=f"{str(data)!r}, {found}", fix="Name another folder.",
        expected="a new or empty folder, or one of the demo's",
    )  # fmt: skip
