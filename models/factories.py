"""`module:function` → a network. The code is the operator's own; a package only names it.

A manifest must not be able to call whatever is importable (`os:system` is one name away), so a factory is an nn.Module
subclass, or a function defined in the named module and annotated to return one.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import sysconfig
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.schemas.errors import ModelRefused, PenstockError

if TYPE_CHECKING:
    from torch import nn


class FunctionFailed(ModelRefused):
    """The user's own function raised. `frames` are those of the user's code that led there, the innermost last.

    >>> print(FunctionFailed("network:train", ValueError("no rows"), ["network.py, line 7, in train"]))
    Model network:train is refused: it raised ValueError: no rows.
      network.py, line 7, in train
    """

    def __init__(self, target: str, error: Exception, frames: Sequence[str]) -> None:
        self.frames = tuple(frames)
        said = next(iter(str(error).strip().splitlines()), "").rstrip(".")
        super().__init__(target, f"it raised {type(error).__name__}{f': {said}' if said else ''}")
        self.args = ("\n".join([str(self), *(f"  {frame}" for frame in frames)]),)


def call(target: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What the user's function returns. Raises FunctionFailed; a PenstockError says enough already."""
    try:
        return function(*arguments)
    except PenstockError:
        raise
    except Exception as error:  # whatever it raises
        raise FunctionFailed(target, error, list(_users_frames(error))) from error


def _users_frames(error: Exception) -> Iterator[str]:
    """Places in files that belong neither to Python nor to what is installed, nor to Penstock itself."""
    own = [str(Path(__file__).resolve().parents[1] / name) for name in ("models", "monitoring", "schemas", "streams")]
    others = (*own, *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")))
    for frame in traceback.extract_tb(error.__traceback__):
        if not str(Path(frame.filename).resolve()).startswith(others) and not frame.filename.startswith("<frozen "):
            line = f": {frame.line}" if frame.line else ""
            yield f"{frame.filename}, line {frame.lineno}, in {frame.name}{line}"


def load_object(target: str, model: str) -> Any:
    """What `module:name` names; modules of the current directory come first, as with `python -m`.

    Raises ModelRefused with a sentence that says which part was not found, or what the import raised.
    """
    module_name, _, name = target.partition(":")
    if not module_name or not name.isidentifier():
        raise ModelRefused(model, f"{target!r} is not `module:function`", fix="For example models.net:build.")
    try:
        with _users_path():
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            cause = f"the module {module_name!r} of {target!r} cannot be found"
            raise ModelRefused(
                model, cause, fix="Install its code, or start in the directory that holds it."
            ) from error
        raise ModelRefused(
            model, f"the module {module_name!r} needs {error.name!r}, which is not installed", fix="Install it."
        ) from error
    except Exception as error:  # whatever the user's module raises on import
        raise ModelRefused(model, f"importing {module_name!r} raised {type(error).__name__}: {error}") from error
    if not hasattr(module, name):
        where = getattr(module, "__file__", None) or "built in"
        raise ModelRefused(model, f"the module {module_name!r} ({where}) has no {name!r}")
    return getattr(module, name)


def build_network(target: str, arguments: Mapping[str, Any], model: str) -> nn.Module:
    """Call the factory with the arguments.

    Raises ModelRefused when it cannot be found, is not annotated to return an nn.Module, raises, or returns something
    else.
    """
    from torch import nn

    factory = load_object(target, model)
    if not _builds_networks(factory, target.partition(":")[0], nn.Module):
        raise ModelRefused(
            model,
            f"{target!r} is neither an nn.Module subclass nor a function of that module annotated `-> nn.Module`",
            fix="Annotate the function's return type: a package may call nothing else.",
        )
    try:
        network = factory(**arguments)
    except Exception as error:  # whatever the user's factory raises
        raise ModelRefused(model, f"{target}(**{dict(arguments)!r}) raised {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ModelRefused(model, f"{target} returned {type(network).__name__}; expected an nn.Module")
    return network


@contextmanager
def _users_path() -> Iterator[None]:
    """The current directory first, and not the checkout that Penstock itself may run from.

    There, its folders `models` and `schemas` would hide a user's folder of that name that has no `__init__.py`.
    """
    here, own = str(Path.cwd()), str(Path(__file__).resolve().parents[1])
    if not {"", here} & set(sys.path):
        sys.path.insert(0, here)
    hidden = own in sys.path and own != here
    place = sys.path.index(own) if hidden else 0
    if hidden:
        sys.path.remove(own)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if hidden:
            sys.path.insert(place, own)


def _builds_networks(factory: Callable[..., Any] | type, module: str, network: type) -> bool:
    if inspect.isclass(factory):
        return issubclass(factory, network)
    if not inspect.isfunction(factory) or factory.__module__ != module:
        return False
    try:
        returned = typing.get_type_hints(factory).get("return")
    except (NameError, AttributeError, TypeError):
        return False
    return inspect.isclass(returned) and issubclass(returned, network)
