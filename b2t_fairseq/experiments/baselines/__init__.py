"""Scores that need no neural model: what a trained one has to beat."""
