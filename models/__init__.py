"""From a window's columns to scores: the feature catalogue, model packages, the registry, the runtime. No Kafka."""
