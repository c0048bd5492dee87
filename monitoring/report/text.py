"""Numbers and times as a person reads them."""

from __future__ import annotations

import math
from datetime import UTC, datetime

DAY_MS = 24 * 3600 * 1000
MAX_TICKS = 6
_STEPS = [60_000 * minutes for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)] + [
    DAY_MS * days for days in (1, 2, 4, 7, 14)
]
_UNITS = ((DAY_MS, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second"))


def number(value: float) -> str:
    """Three digits that matter.

    >>> [number(value) for value in (0.0, 12345.6, 12.345, -0.012345, 1.5e-7, 4e9, float("nan"), float("inf"))]
    ['0', '12,346', '12.3', '-0.0123', '1.5e-07', '4e+09', '–', '∞']
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if 1000 <= abs(value) < 1e8:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percent(share: float) -> str:
    """A share, to a tenth of a per cent where it is small.

    >>> [percent(share) for share in (0, 0.0004, 0.0312, 0.984, 0.9996, 1, float("nan"))]
    ['0 %', '<0.1 %', '3.1 %', '98 %', '>99.9 %', '100 %', '–']
    """
    if math.isnan(share):
        return "–"
    if 0 < share < 0.001:
        return "<0.1 %"
    if 0.999 < share < 1:
        return ">99.9 %"
    return f"{share:.1%}".replace("%", " %") if 0 < share < 0.1 else f"{share:.0%}".replace("%", " %")


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number of things.

    >>> counted(1, "alert"), counted(1200, "alert"), counted(0, "category", "categories")
    ('1 alert', '1,200 alerts', 'no categories')
    """
    return f"{count:,} {one}" if count == 1 else f"{f'{count:,}' if count else 'no'} {many or one + 's'}"


def instant(unix_ms: int) -> str:
    """To the minute, UTC.

    >>> instant(1_357_034_400_000)
    '2013-01-01 10:00'
    """
    return _datetime(unix_ms).strftime("%Y-%m-%d %H:%M")


def ticks(start_ms: int, end_ms: int) -> list[tuple[int, str]]:
    """At most six round moments of [start_ms, end_ms), Unix ms, with short names, UTC.

    >>> [name for _, name in ticks(1_357_034_400_000, 1_357_034_400_000 + 9 * DAY_MS)]
    ['Jan 3', 'Jan 5', 'Jan 7', 'Jan 9']
    >>> [name for _, name in ticks(1_357_034_400_000, 1_357_034_400_000 + 400 * DAY_MS)]
    ['Apr 2013', 'Jul 2013', 'Oct 2013', 'Jan 2014']
    """
    step = next((step for step in _STEPS if (end_ms - start_ms) / step <= MAX_TICKS), None)
    if step is None:
        return _months(start_ms, end_ms)
    found = []
    for time_ms in range(-(-start_ms // step) * step, end_ms, step):
        moment = _datetime(time_ms)
        found.append((time_ms, f"{moment:%H:%M}" if time_ms % DAY_MS else f"{moment:%b} {moment.day}"))
    return found


def _months(start_ms: int, end_ms: int) -> list[tuple[int, str]]:
    """First days of months."""
    first, last = _datetime(start_ms), _datetime(end_ms)
    months = 12 * (last.year - first.year) + last.month - first.month
    step = next((step for step in (1, 2, 3, 4, 6, 12) if months / step <= MAX_TICKS), 12 * -(-months // 72))
    found = []
    for month in range(-(-(12 * first.year + first.month) // step) * step, 12 * last.year + last.month, step):
        moment = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
        found.append((round(moment.timestamp() * 1000), f"{moment:%b %Y}"))
    return found


def duration(milliseconds: float) -> str:
    """In its largest unit, to a tenth where that says something.

    >>> duration(90_000), duration(3 * DAY_MS), duration(250), duration(1000), duration(float("nan"))
    ('1.5 minutes', '3 days', '250 ms', '1 second', '–')
    """
    if math.isnan(milliseconds):
        return "–"
    for unit, name in _UNITS:
        if milliseconds >= unit:
            amount = f"{milliseconds / unit:.1f}".removesuffix(".0")
            return f"{amount} {name}" if amount == "1" else f"{amount} {name}s"
    return f"{milliseconds:.0f} ms"


def _datetime(unix_ms: int) -> datetime:
    """Of the years 1 to 9999: what an event claims may lie far outside."""
    bounded = min(max(unix_ms, -62_135_596_800_000), 253_402_300_799_000)
    return datetime.fromtimestamp(bounded // 1000, UTC)
