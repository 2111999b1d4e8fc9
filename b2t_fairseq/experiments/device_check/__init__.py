"""`b2t-fairseq device-check`: does everything work, and how fast, on this machine's GPU (or CPU)?

bench.py      models, batches and trainers, and how two results are compared
numbers.py    outputs, gradients and decoding of every connection, against float32 on the CPU
training.py   fairseq's own trainer in every precision; recomputation, compilation, fused steps, two workers
costs.py      memory, operator calls, speed
command.py    the command line; runs the cases
report.py     what is written: a Markdown report to read or to attach, and the same as JSON
"""
