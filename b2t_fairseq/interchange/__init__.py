"""Others' checkpoints in (`incoming/`), ours out (`outgoing/`), and a trained model in one call (`trained.py`)."""
