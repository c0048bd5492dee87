"""Times and lengths of time as a person types them."""

from __future__ import annotations

import re

import typer

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def instant(text: str | None, option: str) -> int | None:
    """Unix ms of an ISO 8601 time, UTC unless it names an offset.

    >>> instant("1970-01-01T01:00", "--from")
    3600000
    """
    if text is None:
        return None
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        expected = "2013-06-01, 2013-06-01T12:00 or 2013-06-01T14:00+02:00"
        raise typer.BadParameter(f"{text!r} is no time; expected for example {expected}", param_hint=option) from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def length(text: str | None, option: str = "--last") -> int | None:
    """Milliseconds of a length such as `7d`, `36h` or `90m`.

    >>> length("1.5h")
    5400000
    """
    if text is None:
        return None
    found = _LENGTH.fullmatch(text)
    if found is None or float(found[1]) == 0:
        raise typer.BadParameter(
            f"{text!r} is no length of time; expected for example 90m, 36h, 7d or 2w", param_hint=option
        )
    return round(float(found[1]) * _SECONDS[found[2]] * 1000)


def stretch(since: str | None, until: str | None, last: str | None) -> tuple[int | None, int | None, int | None]:
    """Unix ms of `--from` and `--to`, and the milliseconds of `--last`, which stands alone."""
    start_ms, end_ms, last_ms = instant(since, "--from"), instant(until, "--to"), length(last)
    if last_ms is not None and (start_ms is not None or end_ms is not None):
        raise typer.BadParameter("give either --last or --from and --to", param_hint="--last")
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise typer.BadParameter("it is not after --from", param_hint="--to")
    return start_ms, end_ms, last_ms
