"""Audio files to features, manifests and transcripts."""
