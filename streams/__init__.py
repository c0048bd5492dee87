"""The only place that knows Faust, Kafka, Redis and the environment."""
