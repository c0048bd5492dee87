"""Candidates on what was scored: what they say about rows that the log keeps, with the features the champion had."""
