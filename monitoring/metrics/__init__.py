"""What each role counts, for Prometheus."""
