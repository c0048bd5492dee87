"""What the watch role does for one partition: segments, labels, summaries."""
