"""Models from and for other programs: others' checkpoints in (`incoming`), ours out (`outgoing`)."""
