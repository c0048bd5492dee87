"""Drift of histograms: bets against a reference whose evidence adds up."""
