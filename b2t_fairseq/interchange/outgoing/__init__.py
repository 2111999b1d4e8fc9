"""Trained models as files that other programs serve: `b2t-fairseq export`."""
