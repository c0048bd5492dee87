"""`penstock routes`, `penstock experiment` and `penstock explain-route`: who goes to which model, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from penstock.streams.cli.changing import AuthorOption, Changing, CheckOption, ExpectOption, ReasonOption
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
    from penstock.streams.settings import Settings

routes_app = typer.Typer(
    help="Who goes to which model: rules first, then experiments, the rest to the champion; and who is in shadow.\n\n"
    "Example: [bold]penstock routes[/bold]"
)
experiment_app = typer.Typer(
    help="Divide a share of the keys among variants. A key stays on its arm, whatever worker has it and while the "
    "share grows.",
    no_args_is_help=True,
)

PANEL = "Change"
NEXT = "penstock routes shows all that is in force; penstock explain-route KEY tells why"
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As `penstock routes` shows it.")]
ShareOption = Annotated[float, typer.Option("--share", min=0, max=1, help="Of the keys, from 0 to 1.")]


def register(app: typer.Typer) -> None:
    app.add_typer(routes_app, name="routes", rich_help_panel=PANEL)
    app.add_typer(experiment_app, name="experiment", rich_help_panel=PANEL)
    app.command("explain-route", rich_help_panel=PANEL)(explain_route)


@routes_app.callback(invoke_without_command=True)
def routes(context: typer.Context, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    if context.invoked_subcommand is not None:
        for option in ("config", "as_json"):
            source = context.get_parameter_source(option)
            if source is not None and source.name == "COMMANDLINE":
                raise typer.BadParameter(f"give --config and --json after {context.invoked_subcommand}")
        return
    control = _current(load_settings(config))
    from penstock.streams.console import routes as rendering
    from penstock.streams.console.decisions import control_document
    from penstock.streams.console.rendering import time_text

    if as_json:
        print_json(control_document(control))
        return
    because = f": {control.reason}" if control.reason else ""
    since = time_text(control.time).partition(".")[0]
    typer.echo(f"{control.pipeline}, revision {control.revision}, {since} by {control.author}{because}")
    print_table(rendering.COLUMNS, rendering.rows(control))


@routes_app.command("add")
def add_rule(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the rule, for people.")],
    to: Annotated[
        str, typer.Option("--to", metavar="VARIANT[=MODEL]", help="Where its events go; champion is one, too.")
    ],
    keys: Annotated[list[str] | None, typer.Option("--key", help="Events with this key; again for more.")] = None,
    feature: Annotated[
        str | None, typer.Option("--feature", metavar="F", help="A category, int or bool feature that has …")
    ] = None,
    values: Annotated[list[str] | None, typer.Option("--value", metavar="V", help="… this; again for more.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    expect_revision: ExpectOption = None,
    check: CheckOption = True,
    as_json: JsonOption = False,
) -> None:
    """Send the events of some keys, or with some value of a feature, to a variant whatever the shares say.

    Of several rules the first that fits counts. An event without a key goes by its id.

    Example: [bold]penstock routes add staff --to candidate=fraud@2 --key c-17 --key c-18[/bold]
    """
    changing = Changing.of(config, author=author, reason=reason, expected_revision=expect_revision, as_json=as_json)
    from penstock.schemas.control import Rule
    from penstock.streams.console.routes import Target, condition, rule_values
    from penstock.streams.control import targeting

    if not keys and feature is None:
        raise typer.BadParameter("give at least one, or --feature and --value", param_hint="--key")
    if (feature is None) != (not values):
        raise typer.BadParameter("they go together", param_hint="--feature and --value")
    catalogue = changing.settings.catalogue
    wanted = rule_values(catalogue, "penstock routes add", feature, values or ()) if feature else ()
    variant, reference = Target.parse(to)
    model = None if reference is None else changing.model(reference, load=check)
    rule = Rule(name, variant, tuple(dict.fromkeys(keys or ())), feature, wanted)
    control = changing.write(lambda control: targeting.add_rule(control, rule, model), f"routes add {name} --to {to}")
    answering = control.model_of(variant)
    changing.say(control, f"{name}: {condition(rule)} to {variant}, {answering}", next_step=NEXT)


@routes_app.command("remove")
def remove_rule(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    expect_revision: ExpectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a rule away: its events go by the other rules, the experiments, or to the champion.

    Example: [bold]penstock routes remove staff[/bold]
    """
    changing = Changing.of(config, author=author, reason=reason, expected_revision=expect_revision, as_json=as_json)
    from penstock.streams.control import targeting

    control = changing.write(lambda control: targeting.remove_rule(control, name), f"routes remove {name}")
    changing.say(control, f"{name} is gone", next_step=NEXT)


@experiment_app.command()
def start(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Another name draws other keys, independently.")],
    share: ShareOption,
    arms: Annotated[
        list[str],
        typer.Option("--arm", metavar="VARIANT[=MODEL][:WEIGHT]", help="Again for more; champion is a control group."),
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    expect_revision: ExpectOption = None,
    check: CheckOption = True,
    as_json: JsonOption = False,
) -> None:
    """Divide a share of the keys among arms, by their weights. Whoever is left out goes on as before.

    Example: [bold]penstock experiment start price --share 0.2 --arm champion --arm blue=fraud@2[/bold]
    """
    changing = Changing.of(config, author=author, reason=reason, expected_revision=expect_revision, as_json=as_json)
    from penstock.schemas.control import Experiment
    from penstock.streams.console.routes import Arm
    from penstock.streams.control import targeting
    from penstock.streams.control.refusals import percent

    parsed = [Arm.parse(arm) for arm in arms]
    if len({arm.variant for arm in parsed}) < len(parsed):
        raise typer.BadParameter("a variant is named twice", param_hint="--arm")
    models = {arm.variant: changing.model(arm.reference, load=check) for arm in parsed if arm.reference is not None}
    experiment = Experiment(name, share, {arm.variant: arm.weight for arm in parsed})
    control = changing.write(
        lambda control: targeting.start_experiment(control, experiment, models),
        f"experiment start {name} --share {share:g} {' '.join(f'--arm {arm}' for arm in arms)}",
    )
    changing.say(control, f"{name} has {percent(share)} of the keys", next_step=NEXT)


@experiment_app.command("share")
def set_share(
    name: NameArgument,
    share: Annotated[float, typer.Argument(metavar="SHARE", min=0, max=1, help="Of the keys, from 0 to 1.")],
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    expect_revision: ExpectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let more of the keys take part, or fewer. A greater share moves no key off its arm.

    Example: [bold]penstock experiment share price 0.5[/bold]
    """
    changing = Changing.of(config, author=author, reason=reason, expected_revision=expect_revision, as_json=as_json)
    from penstock.streams.control import targeting
    from penstock.streams.control.refusals import percent

    control = changing.write(
        lambda control: targeting.set_share(control, name, share), f"experiment share {name} {share:g}"
    )
    changing.say(control, f"{name} has {percent(share)} of the keys", next_step=NEXT)


@experiment_app.command()
def stop(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    expect_revision: ExpectOption = None,
    as_json: JsonOption = False,
) -> None:
    """End an experiment: its keys go on as if it had never been.

    Example: [bold]penstock experiment stop price[/bold]
    """
    changing = Changing.of(config, author=author, reason=reason, expected_revision=expect_revision, as_json=as_json)
    from penstock.streams.control import targeting

    control = changing.write(lambda control: targeting.stop_experiment(control, name), f"experiment stop {name}")
    changing.say(control, f"{name} is over", next_step=NEXT)


def explain_route(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Of an event, or its id where it has none.")],
    features: Annotated[
        list[str] | None, typer.Option("--feature", metavar="F=V", help="What rules may ask for; again for more.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Say in words which model answers an event, and which rule, experiment and share led there.

    Example: [bold]penstock explain-route c-17 --feature country=US[/bold]
    """
    settings = load_settings(config)
    import msgspec

    from penstock.models.routing import explain
    from penstock.streams.console.routes import row_of

    given = dict(_pair(text) for text in features or ())
    columns = row_of(settings.catalogue, "penstock explain-route", given) if given else None
    control = _current(settings)
    explanation = explain(control, key.encode(), columns)
    if as_json:
        told = msgspec.to_builtins(explanation) | {"model": str(explanation.model)}
        print_json({"key": key, "revision": control.revision} | told)
    else:
        typer.echo(str(explanation))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not F=V, for example country=US", param_hint="--feature")
    return name, value


def _current(settings: Settings) -> Control:
    """Raises NothingServes."""
    from penstock.streams.control import ControlPlane

    return run_async(ControlPlane.of(settings).serving())
