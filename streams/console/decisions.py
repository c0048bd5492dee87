"""Decisions as rows and documents: what a change changed, and what a gate saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock.schemas.control import CANARY, CHAMPION, FALLBACK, Control, Decision, Experiment, Rule
from penstock.schemas.gates import Evidence, Look
from penstock.streams.console.alert_rendering import printable
from penstock.streams.control.refusals import percent

HISTORY_COLUMNS = ("revision", "time", "who", "what", "why")
TRAIL_COLUMNS = ("time", "stage", "verdict", "difference", "rows", "reason")


def second(unix_ms: int) -> str:
    """A time in UTC, to the second.

    >>> second(1357034400000)
    '2013-01-01 10:00:00'
    """
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def history_row(decision: Decision) -> list[str]:
    """A change in a table with `HISTORY_COLUMNS`."""
    what = "; ".join([decision.command, *changed(decision.before, decision.after)])
    return [
        str(decision.revision), second(decision.time), printable(decision.author), printable(what),
        printable(decision.reason),
    ]  # fmt: skip


def trail_row(decision: Decision) -> list[str]:
    """Any decision in a table with `TRAIL_COLUMNS`."""
    when, look = second(decision.time), decision.look
    stage = "" if look is None else f"{look.rollout}, stage {look.stage + 1}, {percent(look.share)}"
    shown = None if look is None else main_evidence(look)
    figures = ("", "") if shown is None else (bounds(shown), f"{shown.rows:,}")
    if decision.after is not None:
        effects = "; ".join(changed(decision.before, decision.after))
        because = f": {decision.reason}" if decision.reason else ""
        told = f"{effects}, by {decision.author}{because}"
        return [when, stage, printable(decision.command), *figures, printable(told)]
    if decision.staging is not None:
        staging = decision.staging
        failed = [check for check, held in staging.checks if not held]
        said = "; ".join(failed) or (staging.look.reason if staging.look else decision.reason)
        verdict = "staged" if staging.passed else "not passed"
        return [when, f"{staging.model}, staging", verdict, *figures, printable(said)]
    return [when, stage, "" if look is None else look.verdict, *figures, printable("" if look is None else look.reason)]


def main_evidence(look: Look) -> Evidence | None:
    """The comparison to show of a look: the first of the main test that came to a difference, else any."""
    ranked = sorted(look.evidence, key=lambda each: (each.test != "main", each.difference is None))
    return ranked[0] if ranked else None


def bounds(evidence: Evidence) -> str:
    """A difference of mean losses with its bounds, against the margin; above zero the candidate is worse.

    >>> bounds(Evidence("main", "paired", "log_loss", "hold", 900, 7, 60, 0.005, 0.05, -0.012, -0.021, -0.003))
    '-0.0120 [-0.0210, -0.0030] against 0.005 of log_loss, paired'
    >>> bounds(Evidence("main", "canary", "brier", "hold", 9, 1, 9, 0.01, 0.05, note="1 of 7 time buckets"))
    'not known yet: 1 of 7 time buckets'
    """
    if evidence.difference is None:
        return printable(f"not known yet{f': {evidence.note}' if evidence.note else ''}")
    low, high = ("…" if bound is None else f"{bound:.4f}" for bound in (evidence.low, evidence.high))
    return printable(
        f"{evidence.difference:.4f} [{low}, {high}] against {evidence.margin:g} of {evidence.metric}, {evidence.source}"
    )


def changed(before: Control | None, after: Control | None) -> Iterator[str]:
    """What differs between two states, in words; nothing where there is no state after.

    >>> from penstock.schemas.records import ModelRef
    >>> one, two = ModelRef("delay", 1), ModelRef("delay", 2)
    >>> first = Control("flights", 1, one, "", "", 0)
    >>> list(changed(None, first)), list(changed(first, msgspec.structs.replace(first, champion=two, fallback=one)))
    (['champion none → delay@1'], ['champion delay@1 → delay@2', 'fallback none → delay@1'])
    """
    if after is None:
        return
    stood, stands = _parts(before), _parts(after)
    for part in dict.fromkeys([*stood, *stands]):
        old, new = stood.get(part, "none"), stands.get(part, "none")
        if old != new:
            yield f"{part} {old} → {new}"


def _parts(control: Control | None) -> Mapping[str, str]:
    """Each part of a state that can change by itself, in words."""
    if control is None:
        return {}
    parts = {CHAMPION: str(control.champion)}
    rollout = control.rollout
    if rollout is not None:
        share = "promoted, baking" if rollout.baking else percent(rollout.share)
        parts[CANARY] = f"{rollout.candidate} {share}"
    parts |= {name: str(model) for name, model in control.variants.items() if name != CANARY}
    parts |= {f"rule {rule.name}": _rule(rule) for rule in control.rules}
    for experiment in control.experiments:
        if rollout is None or experiment.name != rollout.id:
            parts[f"experiment {experiment.name}"] = _experiment(experiment)
    parts |= {f"shadow {shadow.model}": percent(shadow.sample) for shadow in control.shadows}
    return parts if control.fallback is None else {**parts, FALLBACK: str(control.fallback)}


def _rule(rule: Rule) -> str:
    conditions = [f"{len(rule.keys)} keys"] if rule.keys else []
    if rule.feature is not None:
        conditions.append(f"{rule.feature} {'|'.join(rule.values)}")
    return f"{rule.variant} ({', '.join(conditions) or 'every event'})"


def _experiment(experiment: Experiment) -> str:
    return f"{percent(experiment.share)} ({', '.join(sorted(experiment.arms))})"


def control_document(control: Control) -> dict[str, Any]:
    """The routing state for a program: models as NAME@VERSION."""
    found: dict[str, Any] = _named(
        {field: msgspec.to_builtins(getattr(control, field)) for field in Control.__struct_fields__}
    )
    if control.rollout is not None:
        found["rollout"]["share"] = control.rollout.share
    return found


def decision_document(decision: Decision) -> dict[str, Any]:
    """A decision for a program: models as NAME@VERSION, and what a change changed in words."""
    found: dict[str, Any] = _named(msgspec.to_builtins(decision))
    if decision.after is not None:
        found["changed"] = list(changed(decision.before, decision.after))
    return found


def _named(value: Any) -> Any:
    """The same tree with models as text."""
    if isinstance(value, dict):
        if value.keys() == {"name", "version"}:
            return f"{value['name']}@{value['version']}"
        return {key: _named(each) for key, each in value.items()}
    return [_named(each) for each in value] if isinstance(value, list | tuple) else value
