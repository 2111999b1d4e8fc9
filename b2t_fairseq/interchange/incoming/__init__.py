"""Checkpoints of the methods' authors' own codes as ours: one file per code, `detect.py` lists them.

`b2t-fairseq convert IN OUT` writes them as ours (`command.py`); where a checkpoint is only used, `conversion.py` does
the same in memory. To add a code, write its file with `NAME`, `recognises` and `translate`, and name it in `detect.py`.
"""
