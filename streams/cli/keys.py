"""`penstock keys`: make keys, and see which are there and what they are for."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from penstock.streams.cli.changing import AuthorOption, ReasonOption
from penstock.streams.cli.shared import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    load_settings,
    print_json,
    print_table,
    run_async,
)

if TYPE_CHECKING:
    from penstock.schemas.control import Control
    from penstock.schemas.signing import PublicKey
    from penstock.streams.key_files import KeyOnFile
    from penstock.streams.settings import Settings

keys_app = typer.Typer(
    help="Keys that sign models and commands, and keys that keep dead letters secret.", no_args_is_help=True
)

DirectoryOption = Annotated[Path, typer.Option("--directory", "-d", metavar="DIR", help="Where keys are kept.")]
FOLDER = Path("keys")


class KindName(StrEnum):
    signing = "signing"
    dead_letters = "dead-letters"


def register(app: typer.Typer) -> None:
    app.add_typer(keys_app, name="keys", rich_help_panel="Operate")


@keys_app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, - and _.")],
    directory: DirectoryOption = FOLDER,
    kind: Annotated[KindName, typer.Option("--kind", help="What it is for.")] = KindName.signing,
    as_json: JsonOption = False,
) -> None:
    """Make a key. What is private goes to a file that you alone may read, and is never printed.

    A signing key signs model packages and control records; its public half says who is believed. A dead-letters key
    keeps events with sensitive fields secret.

    Example: [bold]penstock keys create release[/bold]
    """
    from penstock.streams.key_files import NAME, PRIVATE, SECRET, create_secret_key, create_signing_key

    if NAME.fullmatch(name) is None:
        raise typer.BadParameter("expected letters, digits, - and _, at most 64", param_hint="NAME")
    if kind is KindName.dead_letters:
        secret, file = create_secret_key(directory, name), directory / f"{name}{SECRET}"
        if as_json:
            print_json({"name": name, "id": secret.id, "kind": kind.value, "file": str(file), "public": None})
            return
        typer.echo(f"wrote the secret key {secret.id} to {file}: keep it, or no letter can be read again")
        typer.echo(f'Next: dead_letter_keys = ["{file}"] under [security], where workers and replays run')
        return
    public, file = create_signing_key(directory, name), directory / f"{name}{PRIVATE}"
    if as_json:
        print_json({"name": name, "id": public.id, "kind": kind.value, "file": str(file), "public": str(public)})
        return
    typer.echo(f"wrote the private key {public.id} to {file}, for you alone\n{public}")
    typer.echo("Next: that line into security.trusted_keys (models) or security.control_keys (commands)")


@keys_app.command("list")
def list_keys(
    directory: DirectoryOption = FOLDER, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Show the keys of the folder and of the configuration, and what each may do.

    Example: [bold]penstock keys list[/bold]
    """
    from penstock.streams.key_files import keys_in

    settings = load_settings(config) if config.exists() else None
    rows = _known(keys_in(directory), settings)
    if as_json:
        print_json([row._asdict() for row in rows])
    elif rows:
        print_table(
            ("key", "id", "kind", "private part here", "believed for"),
            [(row.name, row.id, row.kind, "yes" if row.held else "no", ", ".join(row.believed_for)) for row in rows],
        )
    else:
        typer.echo(f"There are no keys in {directory}. Make one: penstock keys create NAME")


@keys_app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of a key in the folder, or the path of its .pub file.")],
    directory: DirectoryOption = FOLDER,
    as_json: JsonOption = False,
) -> None:
    """Show a public key, as `security.trusted_keys` and `security.control_keys` take it.

    Example: [bold]penstock keys show release[/bold]
    """
    from penstock.streams.key_files import PUBLIC, read_public_key

    public = read_public_key(Path(name) if name.endswith(PUBLIC) else directory / f"{name}{PUBLIC}")
    if as_json:
        print_json({"name": public.name, "id": public.id, "public": str(public)})
    else:
        typer.echo(str(public))


@keys_app.command("sign-control")
def sign_control(
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the control record once more as it is, signed: before the first [bold]security.control_keys[/bold] are set,
    after they changed, or when the record was written by somebody without a key.

    It reads what stands there whoever wrote it, and shows it: sign it only if that is what should serve.

    Example: [bold]penstock keys sign-control --reason "keys from now on"[/bold]
    """
    from dataclasses import replace

    from penstock.schemas.errors import ConfigurationError, Conflict
    from penstock.schemas.signing import ANYBODY
    from penstock.streams.console.decisions import control_document
    from penstock.streams.control import ControlPlane

    settings = load_settings(config)
    plane = ControlPlane.of(settings)
    key = plane.signer.key()
    if key is None:
        expected, place = "the private key to sign with", "security.control_signing_key"
        raise ConfigurationError(str(settings.file), place, found="missing", expected=expected)
    plane = replace(plane, trusted=ANYBODY)
    found = run_async(plane.serving())
    if not yes:
        print_json(control_document(found))
        typer.confirm("Sign this?", abort=True, err=True)

    def as_shown(before: Control | None) -> Control:
        if before != found:  # somebody wrote one of the same revision behind it
            revision = 0 if before is None else before.revision
            raise Conflict(plane.what, expected_revision=found.revision, found_revision=revision)
        return found

    control = run_async(
        plane.change(
            as_shown,
            command="sign the control record",
            author=author,
            reason=reason,
            expected_revision=found.revision,
            rewrite=True,
        )
    )
    if as_json:
        print_json(control_document(control))
    else:
        typer.echo(f"revision {control.revision} is signed by {key.public().id}: {control.champion} answers, as before")


class Row(NamedTuple):
    """A key, whether its private part is in the folder, and whose signatures count by it."""

    name: str
    id: str
    kind: str
    held: bool
    believed_for: list[str]
    public: str | None


def _known(held: list[KeyOnFile], settings: Settings | None) -> list[Row]:
    """The folder's keys, then those that only the configuration names."""
    models = () if settings is None else settings.trusted_keys.keys
    commands = () if settings is None else settings.control_keys.keys

    def believed(key_id: str) -> list[str]:
        named: tuple[tuple[str, tuple[PublicKey, ...]], ...] = (("models", models), ("commands", commands))
        return [what for what, keys in named if any(key.id == key_id for key in keys)]

    there = {key.id for key in held}
    configured = [key for key in dict.fromkeys((*models, *commands)) if key.id not in there]
    return [
        *(Row(k.name, k.id, k.kind, k.held, believed(k.id), None if k.public is None else str(k.public)) for k in held),
        *(Row(k.name, k.id, "signing", False, believed(k.id), str(k)) for k in configured),
    ]
