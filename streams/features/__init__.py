"""Looked-up features: the store, its cache and its search, and how Redis is filled."""
