"""Labels, and the quality of what was predicted."""
