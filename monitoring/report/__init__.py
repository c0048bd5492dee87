"""The report: a stretch of the log beside the training data, on one page."""
