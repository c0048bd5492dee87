"""The monitors over a table, without Kafka or Redis."""
