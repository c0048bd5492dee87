"""What the commands that change the routing state share: options, writing, and saying what is now so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.streams.cli.loading import CheckOption as CheckOption
from penstock.streams.cli.loading import usable
from penstock.streams.cli.shared import load_settings, print_json, run_async

if TYPE_CHECKING:
    from penstock.schemas.control import Control
    from penstock.schemas.records import ModelRef
    from penstock.streams.settings import Settings

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="NAME@VERSION, NAME@ALIAS, NAME@latest, NAME.")]
ReasonOption = Annotated[str, typer.Option("--reason", "-m", help="For the audit trail.")]
AuthorOption = Annotated[str | None, typer.Option("--author", help="Who decides. \\[default: USER@HOST]")]
ExpectOption = Annotated[
    int | None, typer.Option("--expect-revision", help="Change nothing unless the control record is at this one.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Although no staging passed; takes a --reason.")]


@dataclass
class Changing:
    """One command's change: who makes it and why, the settings it works on, and the state that it found.

    `before` is set once the change was written: the state that it was made from.
    """

    settings: Settings
    author: str | None
    reason: str
    expected_revision: int | None
    as_json: bool
    before: Control | None = field(default=None, init=False)

    @classmethod
    def of(
        cls, config: Path, *, author: str | None, reason: str, expected_revision: int | None, as_json: bool
    ) -> Changing:
        return cls(load_settings(config), author, reason, expected_revision, as_json)

    def model(self, reference: str, *, load: bool = False) -> ModelRef:
        """The version that is meant, verified, and with `load` tried. Raises ModelNotFound, ModelRefused."""
        [model] = usable(self.settings, [reference], load=load)
        return model

    def check_staged(self, model: ModelRef, *, force: bool) -> None:
        """Raises ModelRefused unless a staging of this very package passed, or it is forced for a reason."""
        require_reason(force, self.reason)
        if force:
            return
        from penstock.streams.control.candidates import require_staged
        from penstock.streams.control.trail import read_trail
        from penstock.streams.registry import registry_of

        digest = registry_of(self.settings).digest(model)
        require_staged(run_async(read_trail(self.settings)), model, digest=digest)

    def check_logged(self, model: ModelRef, *, in_shadow_alone: bool = True) -> None:
        """Raises ModelRefused unless the newest blocks of the scored log have every feature that the model reads.

        A sensitive one is never there. A candidate that answers some keys, too, goes on without its shadow then.
        """
        from penstock.streams.control.candidates import FeaturesWithheld, newest_blocks, require_logged
        from penstock.streams.registry import registry_of

        signature = registry_of(self.settings).manifest(model).signature
        catalogue = self.settings.catalogue
        signature.check(catalogue, str(model))
        try:
            require_logged(model, signature.features, catalogue, run_async(newest_blocks(self.settings)))
        except FeaturesWithheld as error:
            if in_shadow_alone:
                raise
            typer.echo(f"{model} is compared by the keys that it answers alone: {error.cause}.", err=True)

    def write(self, change: Callable[[Control], Control], command: str) -> Control:
        """Change what serves. Raises NothingServes, Refused, Conflict, UnreachableError, TopicMissing."""
        from penstock.streams.control.changes import to_what_serves

        def remembered(control: Control) -> Control:
            self.before = control
            return change(control)

        return self.write_any(to_what_serves(self.settings.pipeline.name, remembered), command)

    def write_any(self, change: Callable[[Control | None], Control], command: str) -> Control:
        """The same for a change that needs nothing to serve."""
        from penstock.streams.control.plane import ControlPlane

        return run_async(
            ControlPlane.of(self.settings).change(
                change,
                command=command,
                author=self.author,
                reason=self.reason,
                expected_revision=self.expected_revision,
            )
        )

    def say(self, control: Control, now: str, *, next_step: str) -> None:
        """Print the state, or what is now so and what to do next."""
        if self.as_json:
            from penstock.streams.console.decisions import control_document

            print_json(control_document(control))
            return
        unchanged = self.before is not None and self.before.revision == control.revision
        typer.echo(f"{now}, revision {control.revision}{', as before: nothing was changed' if unchanged else ''}")
        typer.echo(f"Next: {next_step}")


def require_reason(force: bool, reason: str) -> None:
    """Raises BadParameter for `--force` without a reason."""
    if force and not reason.strip():
        raise typer.BadParameter("it takes a reason, for the audit trail: --reason TEXT", param_hint="--force")
