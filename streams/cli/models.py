"""`penstock package` and `penstock models`: from a training function to the model that answers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.streams.cli.changing import (
    AuthorOption,
    Changing,
    CheckOption,
    ExpectOption,
    ModelArgument,
    ReasonOption,
    require_reason,
)
from penstock.streams.cli.shared import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    load_settings,
    print_json,
    print_table,
    run_async,
    task_progress,
)

if TYPE_CHECKING:
    from penstock.models.registry import Registry
    from penstock.schemas.signing import PrivateKey
    from penstock.streams.settings import Settings

models_app = typer.Typer(help="Versions of models, names for them, and which one answers.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Models")(package)
    app.add_typer(models_app, name="models", rich_help_panel="Models")


def package(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:FUNCTION", help="Takes the catalogue, returns a PackageRequest.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where packages go.")] = Path(
        "packages"
    ),
    add: Annotated[bool, typer.Option("--add", help="Add it to the registry, too.")] = False,
    sign: Annotated[
        Path | None, typer.Option("--sign", metavar="KEY", help="Sign it with this private key, a .pem file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train or load a model with your function and write a package: weights, signature, reference profile, golden rows.

    Loading a package never unpickles: the network is built by the factory that it names, in code that you installed.

    Example: [bold]penstock package network:train --add[/bold]
    """
    from penstock.models.package import package_from_factory
    from penstock.models.package_signatures import sign_package

    settings = load_settings(config)
    key = None if sign is None else _private_key(sign)  # before an hour of training
    if add and key is None and settings.trusted_keys:
        raise typer.BadParameter("the registry takes signed packages only: --sign KEY", param_hint="--add")
    with task_progress() as progress:
        progress(f"Running {target} and packaging what it returns", 0, 0)
        written = package_from_factory(target, output, settings.catalogue)
    signature = None if key is None else sign_package(written, key)
    ref = _registry(settings).add(written) if add else None
    if as_json:
        signed_by = None if signature is None else signature.key_id
        print_json({"package": str(written), "model": None if ref is None else str(ref), "signed_by": signed_by})
        return
    typer.echo(f"wrote {written}{'' if signature is None else f', signed by {signature.key_id}'}")
    if ref is None:
        typer.echo(f"Next: penstock models add {written}")
    else:
        typer.echo(f"added {ref} to the registry\nNext: penstock models use {ref}")


@models_app.command()
def add(
    directory: Annotated[Path, typer.Argument(metavar="PACKAGE", help="A package's directory.")],
    config: ConfigOption = DEFAULT_CONFIG,
    alias: Annotated[str | None, typer.Option("--alias", help="A name for the new version, too.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a package and add it to the registry as the next version. The same content keeps its version.

    Example: [bold]penstock models add packages/fraud-3f2a9c81b0de --alias candidate[/bold]
    """
    registry = _registry(load_settings(config))
    ref = registry.add(directory)
    if alias is not None:
        registry.alias(ref.name, alias, ref.version)
    if as_json:
        print_json({"model": str(ref), "alias": alias})
    else:
        typer.echo(str(ref))


@models_app.command("list")
def list_models(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show what is in the registry.

    Example: [bold]penstock models list --json[/bold]
    """
    models = _registry(load_settings(config)).models()
    if as_json:
        print_json([{"model": str(m.ref), "aliases": list(m.aliases), "digest": m.digest} for m in models])
    elif models:
        print_table(("model", "aliases", "digest"), [(str(m.ref), ", ".join(m.aliases), m.digest[:12]) for m in models])
    else:
        typer.echo("The registry is empty. Add a package: penstock package MODULE:FUNCTION --add")


@models_app.command()
def show(model: ModelArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Verify a version and show its manifest: what it takes and gives, how it was trained.

    Example: [bold]penstock models show fraud@latest[/bold]
    """
    import msgspec

    registry = _registry(load_settings(config))
    ref = registry.resolve(model)
    manifest = registry.manifest(ref)
    signed_by = [signature.key_id for signature in registry.signatures(ref)]
    if as_json:
        print_json({"model": str(ref), **msgspec.to_builtins(manifest), "signed_by": signed_by})
        return
    training = manifest.training
    metrics = ", ".join(f"{name} {value:g}" for name, value in training.metrics.items())
    rows = [
        ("model", str(ref)),
        ("factory", manifest.factory),
        ("output", manifest.signature.output.kind),
        ("features", ", ".join(f"{name} ({kind})" for name, kind in manifest.features.items())),
        ("trained on", f"{training.rows} rows, digest {training.digest[:12]}"),
        ("metrics", metrics),
        ("code", training.code_commit or ""),
        ("environment", ", ".join(f"{name} {version}" for name, version in manifest.environment.items())),
        ("licence", manifest.licence or ""),
        ("signed by", ", ".join(map(registry.trusted.name_of, signed_by))),
    ]
    print_table(("", ""), [row for row in rows if row[1]])


@models_app.command()
def alias(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the model.")],
    alias: Annotated[
        str, typer.Argument(metavar="ALIAS", help="A name for people; what serves is decided by `models use`.")
    ],
    version: Annotated[int, typer.Argument(min=1, metavar="VERSION", help="A whole number, without the name.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Let NAME@ALIAS mean a version from now on.

    Example: [bold]penstock models alias fraud stable 3[/bold]
    """
    _registry(load_settings(config)).alias(name, alias, version)
    if as_json:
        print_json({"model": f"{name}@{version}", "alias": alias})
    else:
        typer.echo(f"{name}@{alias} is {name}@{version}")


@models_app.command()
def sign(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="NAME@VERSION, or the directory of a package.")],
    key: Annotated[Path, typer.Option("--key", "-k", metavar="FILE", help="The private key, a .pem file.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Sign a version in the registry, or a package: you vouch for its files as they are. Its digest and version stay.

    Where [bold]security.trusted_keys[/bold] names keys, nothing loads that none of them signed.

    Example: [bold]penstock models sign fraud@2 --key keys/release.pem[/bold]
    """
    from penstock.models.package_files import SUMS, verify_package
    from penstock.models.package_signatures import sign_package

    settings = load_settings(config)
    private = _private_key(key)
    if (Path(model) / SUMS).is_file():
        verify_package(Path(model))
        what, signature = model, sign_package(Path(model), private)
    else:
        registry = _registry(settings)
        ref = registry.resolve(model)
        what, signature = str(ref), registry.sign(ref, private)
    if as_json:
        print_json({"model": what, "signed_by": signature.key_id})
        return
    typer.echo(f"{what} is signed by {settings.trusted_keys.name_of(signature.key_id)}")
    if settings.trusted_keys and signature.key_id not in {known.id for known in settings.trusted_keys.keys}:
        typer.echo("That key is not in security.trusted_keys: the package is refused here all the same.", err=True)


@models_app.command()
def use(
    model: ModelArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    expect_revision: ExpectOption = None,
    check: CheckOption = True,
    force: Annotated[
        bool, typer.Option("--force", help="Although another one answers, and whatever staging says; takes a --reason.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let the first model of a pipeline answer: writes the control record, which workers follow. No worker need run.

    Where another one answers already, it is replaced with [bold]penstock deploy[/bold] or
    [bold]penstock canary start[/bold].

    Example: [bold]penstock models use fraud@1 --reason "the first"[/bold]
    """
    changing = Changing.of(config, author=author, reason=reason, expected_revision=expect_revision, as_json=as_json)
    require_reason(force, reason)
    ref = changing.model(model, load=check)
    from penstock.streams.control.changes import champion, first_champion

    change = (champion if force else first_champion)(changing.settings.pipeline.name, ref)
    control = changing.write_any(change, f"use {ref}")
    changing.say(
        control,
        f"{control.champion} answers {control.pipeline}",
        next_step="penstock up, or penstock worker score, scores events; penstock tail predictions shows it at work.",
    )


@models_app.command()
def serving(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show the control record: which model answers, since when, and who decided why.

    Example: [bold]penstock models serving[/bold]
    """
    from penstock.streams.control import read_control

    control = run_async(read_control(load_settings(config)))
    if as_json:
        from penstock.streams.console.decisions import control_document

        print_json(None if control is None else control_document(control))
    elif control is None:
        typer.echo("No model answers yet: penstock models use NAME@VERSION")
    else:
        since = datetime.fromtimestamp(control.time / 1000, UTC).isoformat(" ", "seconds")
        because = f": {control.reason}" if control.reason else ""
        typer.echo(f"{control.champion}, revision {control.revision}, {since} by {control.author}{because}")


def _registry(settings: Settings) -> Registry:
    from penstock.streams.registry import registry_of

    return registry_of(settings)


def _private_key(path: Path) -> PrivateKey:
    from penstock.streams.key_files import read_private_key

    return read_private_key(path)
