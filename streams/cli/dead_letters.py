"""`penstock dead-letters`: events that could not be scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

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
    from penstock.streams.console.dead_letters import Position, Selection
    from penstock.streams.console.replaying import Outcome
    from penstock.streams.settings import Settings

letters_app = typer.Typer(
    help="Events that could not be scored: look at them, and send them through again.", no_args_is_help=True
)


StageOption = Annotated[
    str | None, typer.Option("--stage", help="Only of this stage: decode, validate, features, score or encode.")
]
ErrorOption = Annotated[str | None, typer.Option("--error", help="Only with this error, for example not_json.")]


def register(app: typer.Typer) -> None:
    app.add_typer(letters_app, name="dead-letters", rich_help_panel="Events")


@letters_app.command("list")
def list_letters(
    config: ConfigOption = DEFAULT_CONFIG,
    stage: StageOption = None,
    error: ErrorOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List the dead letters: where they are, where they failed and why, and whether they were replayed.

    Example: [bold]penstock dead-letters list --stage decode[/bold]
    """
    settings = load_settings(config)
    from penstock.streams.console import rendering
    from penstock.streams.console.dead_letters import Entry, Selection, entries
    from penstock.streams.key_files import read_secret_keys

    keys = read_secret_keys(settings.security.dead_letter_keys)

    async def find() -> tuple[list[Entry], int]:
        found: list[Entry] = []
        count = 0
        async for entry in entries(settings.kafka, settings.topics, Selection(stage, error)):
            count += 1
            if len(found) < limit:
                found.append(entry.opened(keys))
        return found, count

    found, count = run_async(find())
    if as_json:
        print_json([rendering.letter_document(entry.record, entry.letter, entry.replayed) for entry in found])
        return
    print_table(
        ("position", "time", "topic", "stage", "error", "message", "attempt", "replayed"),
        [rendering.letter_row(entry.record, entry.letter, entry.replayed) for entry in found],
    )
    letters = "1 dead letter" if count == 1 else f"{count} dead letters"
    typer.echo(f"{letters}{f', the first {len(found)} shown' if count > len(found) else ''}.")


@letters_app.command()
def show(
    position: Annotated[str, typer.Argument(metavar="PARTITION-OFFSET", help="As `list` shows it, for example 0-17.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter: why it failed, its headers, and its value as text and in hexadecimal. For an encrypted one,
    its key must be in [bold]security.dead_letter_keys[/bold].

    Example: [bold]penstock dead-letters show 0-17[/bold]
    """
    where = _position(position)
    settings = load_settings(config)
    from penstock.streams.console import rendering
    from penstock.streams.console.dead_letters import entry_at
    from penstock.streams.key_files import read_secret_keys

    keys = read_secret_keys(settings.security.dead_letter_keys)
    entry = run_async(entry_at(settings.kafka, settings.topics, where)).opened(keys)
    if as_json:
        print_json(rendering.letter_document(entry.record, entry.letter, entry.replayed))
        return
    for line in rendering.letter_lines(entry.record, entry.letter, entry.replayed):
        typer.echo(line)


@letters_app.command()
def replay(
    config: ConfigOption = DEFAULT_CONFIG,
    stage: StageOption = None,
    error: ErrorOption = None,
    positions: Annotated[
        list[str] | None, typer.Option("--position", metavar="PARTITION-OFFSET", help="Only this one; repeat for more.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Those that were replayed before, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Send dead letters back to the topic they came from, byte for byte, each once.

    What was replayed is remembered: doing it twice sends nothing new, and a replay that broke off goes on where it was.
    An event that fails once more becomes a dead letter of its own, with its attempt counted. Encrypted letters are
    decrypted with the keys of [bold]security.dead_letter_keys[/bold].

    Example: [bold]penstock dead-letters replay --stage features[/bold]
    """
    chosen = frozenset(map(_position, positions)) if positions else None
    settings = load_settings(config)
    from penstock.streams.console import replaying
    from penstock.streams.console.dead_letters import Selection

    outcome = run_async(_replay(settings, Selection(stage, error, chosen), again, dry_run))
    if as_json:
        print_json({
            "sent": outcome.sent, "already_replayed": outcome.already, "repeated": outcome.repeated, "dry_run": dry_run,
            "without_value": list(map(str, outcome.without_value)), "not_letters": list(map(str, outcome.not_letters)),
            "encrypted": [str(place) for place, _ in outcome.sealed],
        })  # fmt: skip
    else:
        would = "would be sent" if dry_run else "were sent"
        typer.echo(f"{outcome.sent:,} dead letters {would} back; {outcome.already:,} had been replayed before.")
        if outcome.repeated:
            typer.echo(f"{outcome.repeated:,} more are second letters of the same events, and stay.")
    for place in outcome.without_value[: replaying.LISTED]:
        typer.echo(f"{place} has no value and stays: send its event again from the source.", err=True)
    for place in outcome.not_letters[: replaying.LISTED]:
        typer.echo(f"{place} is no dead letter of Penstock and stays.", err=True)
    for place, sealed in outcome.sealed[: replaying.LISTED]:
        typer.echo(f"{place} stays. {sealed}", err=True)
    if outcome.without_value or outcome.not_letters or outcome.sealed:
        raise typer.Exit(1)


async def _replay(settings: Settings, selection: Selection, again: bool, dry_run: bool) -> Outcome:
    from penstock.streams.console import replaying
    from penstock.streams.key_files import read_secret_keys

    keys = read_secret_keys(settings.security.dead_letter_keys)
    with task_progress() as move:
        return await replaying.replay(
            settings.kafka, settings.topics, selection, keys=keys, again=again, dry_run=dry_run,
            progress=lambda outcome: move(f"{outcome.sent:,} dead letters sent back", 0, 0),
        )  # fmt: skip


def _position(text: str) -> Position:
    from penstock.streams.console.dead_letters import Position

    try:
        return Position.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
