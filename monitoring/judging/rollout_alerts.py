"""What people hear of a rollout: that its candidate has to go, and nothing of what it moves by being there."""

from __future__ import annotations

from penstock.monitoring.alarms import Alarm
from penstock.monitoring.alerts.book import AlertBook, Position
from penstock.schemas.alerts import Alert
from penstock.schemas.gates import Look


def alarm_of(look: Look, *, automatic: bool) -> Alarm:
    """The alarm of a look whose verdict is a rollback, with the figure that led to it.

    >>> from penstock.schemas.gates import Guardrail
    >>> from penstock.schemas.records import ModelRef
    >>> new, old, bad = ModelRef("delay", 2), ModelRef("delay", 1), Guardrail("non_finite", 0.02, 0.001, held=False)
    >>> look = Look("rollout-7", new, old, 0, 0.01, 0, "rollback", "", guardrails=(bad,))
    >>> alarm = alarm_of(look, automatic=True)
    >>> alarm.signal, alarm.after
    ('rolled_back:delay@2', {'non_finite': 0.02})
    """
    signal = f"{'rolled_back' if automatic else 'to_roll_back'}:{look.candidate}"
    broken = [one for one in look.guardrails if not one.held and one.value is not None]
    worse = [one for one in look.evidence if one.verdict == "rollback" and one.difference is not None]
    figures: dict[str, float] = {}
    where = None
    if worse:
        figures = {f"{worse[0].metric}_difference": worse[0].difference or 0.0}
        where = worse[0].test.removeprefix("slice:") if worse[0].test.startswith("slice:") else None
    elif broken:
        figures = {broken[0].name: broken[0].value or 0.0}
    return Alarm("rollout", signal, "gate", "fault", 0.0, 0.0, after=figures, slice=where)


def rolled_back(book: AlertBook, look: Look, *, time: int, automatic: bool) -> list[Alert]:
    """What to tell after a look, at Unix ms `time`: nothing unless it asks for a rollback."""
    if look.verdict != "rollback":
        return []
    position = Position(-1, -1, -1, -1, time, model=str(look.candidate), kind="operations")
    return book.observe([alarm_of(look, automatic=automatic)], position=position)


def suppress(book: AlertBook, reason: str | None, *, newest: int | None, maturity_s: float) -> None:
    """Keep what a rollout moves silent, for a `reason`; None: it moves nothing any more.

    Then what it moved goes on until the labels of its rows are in: from `newest`, the event time so far (Unix ms).
    """
    known = book.suppressed
    if reason is not None:
        if known is None or (known.reason, known.until) != (reason, None):
            book.suppress(reason)
    elif known is not None and known.until is None:
        if newest is None:
            book.resume()
        else:
            book.suppress(known.reason, until=newest + round(maturity_s * 1000))
