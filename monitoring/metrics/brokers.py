"""What every role counts of the brokers, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class BrokerMetrics:
    """Figures of one worker's outages of Kafka, beside those of its role.

    >>> brokers = BrokerMetrics("flights", CollectorRegistry())
    >>> brokers.lost_for(2.5)
    >>> brokers.up._value.get(), brokers.outage._value.get()
    (0.0, 2.5)
    """

    def __init__(self, pipeline: str, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, ["pipeline"], registry=registry).labels(pipeline)

        self.up = gauge("penstock_kafka_up", "1 while a broker answers this worker, else 0.")
        self.up.set(1)
        self.outage = Counter(
            "penstock_kafka_outage_seconds", "Time in which no broker answered.", ["pipeline"], registry=registry
        ).labels(pipeline)
        self.count = gauge("penstock_kafka_brokers", "Brokers that answer, as they say themselves.")
        self.held = gauge(
            "penstock_held_partitions", "Partitions that wait until the topics of their outputs have as many."
        )

    def lost_for(self, seconds: float) -> None:
        """Nobody answers, for so much longer."""
        self.up.set(0)
        self.outage.inc(seconds)
