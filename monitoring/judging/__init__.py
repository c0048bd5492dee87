"""From summaries to alarms: which detector watches what, on one budget."""
