"""From what was measured to what a person reads: metrics, and later summaries and alerts. No Kafka."""
