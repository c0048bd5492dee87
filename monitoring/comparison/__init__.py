"""The comparison of candidates with what was served, on the same rows."""
