"""From scored rows to summaries."""
