"""Candidates on the scored log as it stands: the comparison that a live shadow makes, over the past."""
