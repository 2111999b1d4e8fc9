"""The processes behind an experiment: chains of commands, supervision of a training, progress."""
