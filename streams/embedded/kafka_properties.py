"""Settings of the embedded brokers: a laptop's size, a cluster's guarantees."""

from __future__ import annotations

from collections.abc import Mapping

MAX_MESSAGE_BYTES = 16 * 1024 * 1024

LOGGING = """\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = ${sys:penstock.log}
appender.file.filePattern = ${sys:penstock.log}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{ISO8601} %-5p %c{1}: %m%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 8MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 1
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
# Each prints all settings at start.
logger.config.name = org.apache.kafka.common.config.AbstractConfig
logger.config.level = warn
logger.kafkaconfig.name = kafka.server.KafkaConfig
logger.kafkaconfig.level = warn
"""


def broker_properties(
    broker: int, brokers: int, ports: Mapping[str, list[int]], listeners: Mapping[str, str], *, host: str
) -> dict[str, str]:
    """`server.properties` of one broker and controller; `ports` by listener, `listeners` the further ones."""
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **listeners}
    addresses = {name: f"{name}://{host}:{ports[name][broker]}" for name in protocols}
    return {
        "process.roles": "broker,controller",
        "node.id": str(broker),
        "controller.quorum.voters": ",".join(f"{node}@{host}:{port}" for node, port in enumerate(ports["CONTROLLER"])),
        "listeners": ",".join(addresses.values()),
        "advertised.listeners": ",".join(address for name, address in addresses.items() if name != "CONTROLLER"),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": "data",
        **cluster_properties(brokers),
    }


def cluster_properties(brokers: int) -> dict[str, str]:
    """The settings that do not depend on where the brokers listen; with one replica per broker."""
    in_sync = str(min(brokers, 2))
    return {
        # A topic that nobody created is a mistake in a configuration, not a wish.
        "auto.create.topics.enable": "false",
        "default.replication.factor": str(brokers),
        "min.insync.replicas": in_sync,
        "message.max.bytes": str(MAX_MESSAGE_BYTES),
        "replica.fetch.max.bytes": str(MAX_MESSAGE_BYTES),
        # By size, not by age: what is replayed here may carry timestamps of years ago. And a project that was left
        # for a month goes on where it stopped.
        "log.retention.ms": "-1",
        "log.retention.bytes": str(4 * 1024**3),
        "offsets.retention.minutes": str(365 * 24 * 60),
        # Coordinators: few partitions open faster and need fewer files.
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": str(brokers),
        "offsets.topic.segment.bytes": str(16 * 1024 * 1024),
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": str(brokers),
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.segment.bytes": str(16 * 1024 * 1024),
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": str(brokers),
        "share.coordinator.state.topic.min.isr": in_sync,
        # Consumers join at once, and a test may notice a dead one within a second.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # A broker joins and a lost one is noticed sooner than in a data centre.
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "6000",  # a killed broker may register again only after this time
        # Small: threads and buffers for one user, and a log cleaner that fits the heap.
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
        "log.cleaner.io.buffer.size": str(128 * 1024),
    }


def render(properties: Mapping[str, str]) -> str:
    r"""The text of a .properties file: Java reads it as Latin-1 with escapes.

    >>> render({"a.b": "c=d", "path": "C:\\é"})
    'a.b=c=d\npath=C:\\u005c\\u00e9\n'
    """
    return "".join(f"{name}={escape(value)}\n" for name, value in properties.items())


def escape(value: str) -> str:
    units = value.encode("utf-16-be")
    codes = (int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2))
    return "".join(chr(code) if 0x20 <= code <= 0x7E and code != 0x5C else f"\\u{code:04x}" for code in codes)
