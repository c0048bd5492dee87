"""Which detectors look at which signal: by name, under patterns of signal names."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from penstock.monitoring.detectors import UnknownDetector, canonical, detector_names

HISTOGRAM = "ecusum"
"""The detector that takes a signal's whole histogram; all others take numbers, or what is right and wrong."""


class DetectorChoice:
    """The configuration's `detectors`: pattern (fnmatch) → names; the first pattern that matches counts.

    Raises UnknownDetector.

    >>> choice = DetectorChoice({"feature:price": ("ecusum", "ADWIN"), "length:*": ()})
    >>> choice.of("feature:price", "ecusum"), choice.of("length:origin", "ecusum"), choice.of("lag", "ecusum")
    (('ecusum', 'adwin'), (), ('ecusum',))
    """

    def __init__(self, detectors: Mapping[str, tuple[str, ...]]) -> None:
        self._patterns = [(pattern, tuple(map(_known, names))) for pattern, names in detectors.items()]

    def of(self, signal: str, *default: str) -> tuple[str, ...]:
        """The names for a signal; `default` where no pattern matches."""
        return next((names for pattern, names in self._patterns if fnmatchcase(signal, pattern)), default)

    def chooses(self, signal: str) -> bool:
        """Whether a pattern matches."""
        return any(fnmatchcase(signal, pattern) for pattern, _ in self._patterns)


def _known(name: str) -> str:
    if name.lower() == HISTOGRAM:
        return HISTOGRAM
    try:
        return canonical(name)
    except UnknownDetector:
        raise UnknownDetector(name, (HISTOGRAM, *detector_names())) from None
