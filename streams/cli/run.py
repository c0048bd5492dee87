"""`penstock up` and `penstock worker`: the roles as processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from penstock.streams.cli.shared import DEFAULT_CONFIG, ConfigOption, console, load_settings, run_async, task_progress

if TYPE_CHECKING:
    from penstock.streams.embedded import EmbeddedKafka
    from penstock.streams.embedded_session import Session
    from penstock.streams.settings import Settings
    from penstock.streams.supervisor import Worker

worker_app = typer.Typer(help="Run one role in this process, for a cluster.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Run")(up)
    app.add_typer(worker_app, name="worker", rich_help_panel="Run")


@worker_app.command()
def score(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Score events until SIGTERM or Ctrl-C, which finish and commit what is in flight.

    Start as many as the events topic has partitions; Kafka shares the partitions among them. The champion comes from
    the control record: [bold]penstock models use NAME@VERSION[/bold].

    Example: [bold]penstock worker score -c /etc/penstock/flights.toml[/bold]
    """
    _run("score", config)


@worker_app.command()
def watch(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Summarise the scored log and join it with the labels, until SIGTERM or Ctrl-C.

    Start as many as the scored log has partitions, or fewer: one keeps up with several score workers.

    Example: [bold]penstock worker watch -c /etc/penstock/flights.toml[/bold]
    """
    _run("watch", config)


@worker_app.command()
def judge(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Judge the summaries and raise alerts, until SIGTERM or Ctrl-C.

    One worker judges; a second one stands by and takes over within seconds.

    Example: [bold]penstock worker judge -c /etc/penstock/flights.toml[/bold]
    """
    _run("judge", config)


@worker_app.command()
def shadow(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Ask the candidates that are tried about what was scored, until SIGTERM or Ctrl-C.

    Nobody waits for it, however slow a candidate is. Start as many as the scored log has partitions, or fewer.

    Example: [bold]penstock worker shadow -c /etc/penstock/flights.toml[/bold]
    """
    _run("shadow", config)


def _run(role: str, config: Path) -> NoReturn:
    settings = load_settings(config)
    # The imports below take seconds, in which there is nothing to finish yet.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    from penstock.streams.worker import run_worker

    code = run_worker(role, settings)
    # All is committed and closed; taking torch apart object by object would delay a restart by seconds.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@worker_app.callback()
def worker() -> None:
    pass


def up(
    config: ConfigOption = DEFAULT_CONFIG,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Start a real Kafka and Redis here, as child processes.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Where they keep their data. \\[default: .penstock]")
    ] = None,
    brokers: Annotated[int, typer.Option("--brokers", help="Embedded Kafka brokers: 1, or 3 to lose one.")] = 1,
) -> None:
    """Create missing topics and run all roles on this machine, restarting what fails, until Ctrl-C.

    With [bold]--embedded[/bold] nothing else is needed: commands in a second terminal find its servers by themselves.

    Example: [bold]penstock up --embedded[/bold]
    """
    from penstock.streams import topics
    from penstock.streams.worker import configure_logging

    with ExitStack() as stack:
        session, kafka = stack.enter_context(_embedded(config, data, brokers)) if embedded else (None, None)
        settings = load_settings(config)
        comparison = run_async(topics.create(settings))
        _report(settings, session, len(comparison.missing))
        for difference in comparison.for_people:
            typer.echo(f"{difference}. Fix: {difference.fix}", err=True)
        configure_logging()
        code = run_async(_supervise(_workers(config, session), kafka))
    raise typer.Exit(code)


async def _supervise(workers: list[Worker], kafka: EmbeddedKafka | None) -> int:
    from penstock.streams.embedded.keeping import keep_running
    from penstock.streams.supervisor import supervise

    keeping = asyncio.create_task(keep_running(kafka)) if kafka else None
    try:
        return await supervise(workers, on_start=_say_started)
    finally:
        if keeping is not None:
            keeping.cancel()


@contextmanager
def _embedded(config: Path, data: Path | None, brokers: int) -> Iterator[tuple[Session, EmbeddedKafka]]:
    from penstock.schemas.errors import ConfigurationError
    from penstock.streams import embedded_session
    from penstock.streams.embedded import EmbeddedKafka, EmbeddedRedis
    from penstock.streams.settings import Settings

    settings = Settings.load(config)  # wrong settings are found before anything starts
    for variable in ("PENSTOCK_KAFKA__SERVERS", "PENSTOCK_REDIS__URL"):
        if os.environ.get(variable):
            fix = "Unset it, or leave --embedded."
            raise ConfigurationError(
                variable, "--embedded", found="contradicted by it", expected="one of them", fix=fix
            )
    if settings.kafka.security_protocol != "PLAINTEXT":
        found, expected = repr(settings.kafka.security_protocol), "PLAINTEXT with --embedded"
        raise ConfigurationError(str(config), "kafka.security_protocol", found=found, expected=expected)
    folder = data or settings.directory / embedded_session.FOLDER
    with ExitStack() as stack:
        with task_progress() as progress:
            kafka = stack.enter_context(EmbeddedKafka(folder / "kafka", brokers=brokers, progress=progress))
            redis = stack.enter_context(EmbeddedRedis(folder / "redis"))
        yield stack.enter_context(embedded_session.announced(settings.directory, kafka.servers, redis.url)), kafka


def _workers(config: Path, session: Session | None) -> list[Worker]:
    from penstock.streams.settings.sections import ROLES
    from penstock.streams.supervisor import Worker

    environment = {**os.environ, **(session.environment() if session else {})}
    command = [sys.executable, "-m", "penstock", "worker"]
    return [Worker(role, [*command, role, "--config", str(config)], environment) for role in ROLES]


def _report(settings: Settings, session: Session | None, created: int) -> None:
    out = console()
    where = "embedded" if session else "external"
    out.print(f"Kafka ({where})  {settings.kafka.address}")
    out.print(f"Redis ({where})  {settings.redis.url}")
    out.print(f"Topics            {created} created, {len(settings.topics.table()) - created} were there")
    if session:
        out.print("[dim]Commands in other terminals find these servers by themselves, in this folder.[/dim]")


def _say_started(worker: Worker, pid: int) -> None:
    console().print(f"The {worker.name} worker runs as process {pid}. Ctrl-C ends it after what is in flight.")
