"""Models as commands name them: found in the registry and, before they may answer anybody, loaded as a worker will."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.streams.cli.shared import task_progress

if TYPE_CHECKING:
    from penstock.schemas.records import ModelRef
    from penstock.streams.settings import Settings

CheckOption = Annotated[
    bool, typer.Option("--check/--no-check", help="First load it here, as a worker will, and refuse what fails.")
]


def usable(settings: Settings, references: Iterable[str], *, load: bool) -> list[ModelRef]:
    """The versions that are meant, each verified, and with `load` loaded on this machine and closed again.

    Raises ModelNotFound, ModelRefused.
    """
    from penstock.streams.registry import load_model, registry_of

    registry = registry_of(settings)
    refs = [registry.resolve(reference) for reference in references]
    if not load:
        for ref in refs:
            registry.path(ref)
    elif refs:
        with task_progress() as progress:
            for done, ref in enumerate(refs):
                progress(f"Loading {ref}, as a worker will", done, len(refs))
                load_model(settings, ref).close()
    return refs
