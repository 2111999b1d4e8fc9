"""Scores of what a model wrote: each returns (score, signature, counts)."""
