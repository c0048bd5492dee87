"""`penstock topics`: the pipeline's topics on the brokers."""

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
)

if TYPE_CHECKING:
    from penstock.streams.topics import Comparison

topics_app = typer.Typer(help="The pipeline's topics: create them, and compare them with what they should be.")


def register(app: typer.Typer) -> None:
    app.add_typer(topics_app, name="topics", rich_help_panel="Operate", no_args_is_help=True)


@topics_app.command()
def create(
    config: ConfigOption = DEFAULT_CONFIG,
    partitions: Annotated[
        int | None,
        typer.Option("--partitions", min=1, help="Of the events topic, if it is new. \\[default: kafka.partitions]"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Create the topics that are missing; doing it twice does no harm.

    Topics that exist keep their settings; those that follow the events topic get its partitions, also when it has got
    more of them since: an event's outputs keep its partition.

    Example: [bold]penstock topics create --partitions 8[/bold]
    """
    from penstock.streams import topics

    comparison = run_async(topics.create(load_settings(config), partitions=partitions))
    created = [topic.name for topic in comparison.missing]
    widened = [topic.name for topic in comparison.narrow]
    if as_json:
        print_json({"created": created, "widened": widened, "present": [topic.name for topic in comparison.present]})
        return
    for name in created:
        typer.echo(f"created {name}")
    for name in widened:
        typer.echo(f"widened {name} to {comparison.partitions} partitions")
    typer.echo(f"{len(created)} created, {len(comparison.present)} were there.")
    for difference in comparison.for_people:
        typer.echo(f"{difference}. Fix: {difference.fix}", err=True)


@topics_app.command("list")
def list_topics(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show the table of topics beside what the brokers have. Exit code 1 when something is missing or differs.

    Example: [bold]penstock topics list --json[/bold]
    """
    from penstock.streams import topics

    comparison = run_async(topics.inspect(load_settings(config)))
    if as_json:
        print_json(_as_json(comparison))
    else:
        states = _states(comparison)
        print_table(
            ("topic", "partitions", "key", "value", "clean-up", "on the brokers"),
            [
                (
                    topic.name, str(topic.partitions or comparison.partitions), topic.key, topic.value,
                    topic.cleanup, "; ".join(states[topic.name]) or "as it should be",
                )
                for topic in (*comparison.present, *comparison.missing)
            ],
        )  # fmt: skip
    if comparison.missing or comparison.differences:
        raise typer.Exit(1)


def _states(comparison: Comparison) -> dict[str, list[str]]:
    states: dict[str, list[str]] = {topic.name: [] for topic in comparison.present}
    states |= {topic.name: ["missing"] for topic in comparison.missing}
    for difference in comparison.differences:
        states[difference.topic].append(f"{difference.setting} {difference.found}, not {difference.expected}")
    return states


def _as_json(comparison: Comparison) -> dict[str, object]:
    return {
        "partitions": comparison.partitions,
        "present": [topic.name for topic in comparison.present],
        "missing": [topic.name for topic in comparison.missing],
        "differences": [
            {
                "topic": each.topic,
                "setting": each.setting,
                "found": each.found,
                "expected": each.expected,
                "fix": each.fix,
            }
            for each in comparison.differences
        ],
    }
