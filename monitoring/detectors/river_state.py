"""The exact state of River's detectors as plain data, for they have no serialisation but pickle.

Most of them are pure Python: their attributes are walked, and only classes listed here are met on the way or built on
the way back. Two parts are compiled (Rust): ADWIN's window and the mean of HDDM_W. They hand out their state as bytes
of numbers and take it back; damaged bytes would make them panic, which is why snapshots carry a checksum.
"""

from __future__ import annotations

from collections import deque
from random import Random
from types import MethodType
from typing import Any

import numpy as np
from river._river_rust.drift import AdaptiveWindowing
from river._river_rust.stats import RsEWMean
from river.drift.binary.hddm_w import SampleInfo
from river.stats import EWMean, Mean, Var

_WALKED = {kind.__name__: kind for kind in (Mean, Var, EWMean, SampleInfo)}
_COMPILED = {kind.__name__: kind for kind in (AdaptiveWindowing, RsEWMean)}


def attributes(detector: Any) -> dict[str, Any]:
    """Plain data that `set_attributes` turns back into the same attributes, bit by bit.

    Raises TypeError for an attribute of a kind that is not known here.

    >>> from river.drift import ADWIN
    >>> seen, again = ADWIN(), ADWIN()
    >>> for number in range(100):
    ...     seen.update(number % 7)
    >>> set_attributes(again, attributes(seen))
    >>> again.width, again.variance == seen.variance
    (100.0, True)
    """
    return {name: _plain(value, detector) for name, value in vars(detector).items()}


def set_attributes(detector: Any, state: dict[str, Any]) -> None:
    """Raises KeyError, TypeError or ValueError where `state` is not what `attributes` wrote."""
    for name, value in state.items():
        setattr(detector, name, _live(value, detector))


def _plain(value: Any, detector: Any) -> Any:
    kind = type(value).__name__
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, deque):
        return {"kind": "deque", "items": [_plain(item, detector) for item in value], "longest": value.maxlen}
    if isinstance(value, Random):
        version, words, gauss = value.getstate()
        return {"kind": "random", "version": version, "words": list(words), "gauss": gauss}
    if isinstance(value, MethodType) and value.__self__ is detector:
        return {"kind": "method", "name": value.__name__}
    if type(value) is _COMPILED.get(kind):
        return {"kind": kind, "arguments": list(value.__getnewargs__()), "bytes": value.__getstate__()}
    if type(value) is _WALKED.get(kind):
        return {"kind": kind, "fields": {name: _plain(field, detector) for name, field in vars(value).items()}}
    raise TypeError(f"an attribute of type {type(value).__qualname__}")


def _live(value: Any, detector: Any) -> Any:
    if not isinstance(value, dict):
        return value
    match value["kind"]:
        case "deque":
            return deque((_live(item, detector) for item in value["items"]), value["longest"])
        case "random":
            random = Random()  # noqa: S311 the state of a detector's own generator, not a secret
            random.setstate((value["version"], tuple(value["words"]), value["gauss"]))
            return random
        case "method":
            return MethodType(getattr(type(detector), value["name"]), detector)
        case kind if kind in _COMPILED:
            compiled = _COMPILED[kind](*value["arguments"])
            compiled.__setstate__(value["bytes"])
            return compiled
        case kind:
            walked = _WALKED[kind].__new__(_WALKED[kind])
            for name, field in value["fields"].items():
                setattr(walked, name, _live(field, detector))
            return walked
