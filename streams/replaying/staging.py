"""Staging: everything that can be found out about a model before it answers anybody, and one verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from penstock.monitoring.gates.estimate import Outcomes
from penstock.monitoring.gates.plan import conclude
from penstock.monitoring.rollouts.guardrails import FEWEST_READINGS, Guards
from penstock.monitoring.rollouts.ledger import Ledger
from penstock.schemas.control import Rollout, Staging
from penstock.schemas.errors import ModelRefused, PenstockError
from penstock.schemas.gates import Guardrail, Look
from penstock.streams.control.candidates import newest_blocks, require_logged
from penstock.streams.registry import load_model, registry_of
from penstock.streams.replaying.log import NothingLogged, Progress, Stretch
from penstock.streams.replaying.replay import Replayed, replay

if TYPE_CHECKING:
    from penstock.models.runtime import Runtime
    from penstock.schemas.control import Control
    from penstock.schemas.records import ModelRef
    from penstock.streams.settings import Settings

Check = tuple[str, bool]
_GUARDS_ALPHA = 0.001


@dataclass(frozen=True)
class Staged:
    """What staging found out, and the replay that it rests on; None: there was nothing to replay."""

    staging: Staging
    replayed: Replayed | None


async def stage(settings: Settings, control: Control, model: ModelRef, *, last_ms: int, progress: Progress) -> Staged:
    """Check the package as a worker will, replay it over the last `last_ms` of event time beside the champion, and let
    the gate look. What a check finds is in the answer; nothing is written.

    Raises ModelRefused where the model is the champion, UnreachableError, TopicMissing.
    """
    if model == control.champion:
        raise ModelRefused(str(model), "it answers already", fix="Name another version: penstock models list.")
    registry = registry_of(settings)
    digest = registry.digest(model)
    loaded: list[Runtime] = []

    def check_load() -> None:
        loaded.append(load_model(settings, model))

    def check_output() -> None:
        ours, theirs = (registry.manifest(each).signature.output for each in (model, control.champion))
        if (ours.kind, ours.width) != (theirs.kind, theirs.width):
            raise ModelRefused(
                str(model),
                f"it gives a {ours.kind} of width {ours.width}; {control.champion} a {theirs.kind} of {theirs.width}",
            )

    progress(f"Loading {model}, as a worker will", 0, 0)
    checks = [
        _tried(check_load, "Loads, and gives its golden outputs"),
        _tried(check_output, "Answers like the champion"),
    ]
    if not loaded:
        return Staged(Staging(model, digest, False, tuple(checks)), None)
    runtime = loaded[0]
    try:
        newest = await newest_blocks(settings)

        def check_logged() -> None:
            require_logged(model, runtime.features, settings.catalogue, newest)

        checks.append(_tried(check_logged, "Its features are in the scored log"))
        found = await _replayed(settings, runtime, last_ms, progress) if checks[-1][1] else None
    finally:
        runtime.close()
    if found is None or found.pairs is None:
        passed = all(held for _, held in checks)
        return Staged(Staging(model, digest, passed, tuple(checks)), None)
    look = judged(settings, control, model, found)
    checks += _guarded(look.guardrails)
    passed = all(held for _, held in checks) and look.verdict != "rollback"
    return Staged(Staging(model, digest, passed, tuple(checks), look), found)


async def _replayed(settings: Settings, runtime: Runtime, last_ms: int, progress: Progress) -> Replayed | None:
    try:
        return await replay(settings, [(runtime, 1.0)], Stretch(), last_ms=last_ms, progress=progress)
    except NothingLogged:
        return None


def judged(settings: Settings, control: Control, model: ModelRef, found: Replayed) -> Look:
    """What the gate of the rollout plan says of a replay."""
    config = settings.rollout.config()
    rollout = Rollout(f"stage {model}", model, control.champion, stages=(0.0,))
    ledger = Ledger(config, settings.labels.config())
    ledger.name(msgspec.structs.replace(control, shadows=(), rollout=rollout))
    guards = Guards()
    for summary in found.labelled:
        ledger.add_paired(summary)
    assert found.pairs is not None  # noqa: S101  the caller has seen to it
    for (_, candidate, served, name), sums in found.pairs.pairs.items():
        if not name and (candidate, served) == (str(model), str(control.champion)):
            guards.candidate.add_paired(sums.rows, sums.non_finite)
    for counts, each in ((guards.candidate, model), (guards.champion, control.champion)):
        rows, took_us = found.pairs.latencies.get(str(each), (0, 0))
        counts.timed, counts.took_us, counts.calls, counts.readings = rows, took_us, min(rows, 1), FEWEST_READINGS
    matured = found.stretch[1] + 1
    evidence = ledger.look(rollout, matured)
    guardrails = guards.judge(config, Outcomes(0, 0, 0, 0), alpha=_GUARDS_ALPHA)
    verdict, reason = conclude(evidence, guardrails)
    return Look(rollout.id, model, control.champion, 0, 0.0, matured, verdict, reason, tuple(evidence), guardrails)


def _tried(check: Callable[[], None], name: str) -> Check:
    try:
        check()
    except PenstockError as error:
        return f"{name}: {error}", False
    return name, True


def _guarded(guardrails: tuple[Guardrail, ...]) -> Iterator[Check]:
    for guard in guardrails:
        if guard.value is not None:
            yield f"{guard.name} {guard.value:.4g}, at most {guard.limit:.4g}", guard.held
