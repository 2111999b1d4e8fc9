"""The tasks of the quickstart, one file each; `base.Task` is what the quickstart asks of them."""
