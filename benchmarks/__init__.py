"""How fast ours is beside stock fairseq: `python -m benchmarks --help`.

Every figure is a ratio of two *sides* that take turns: each side is a process of its own (stock fairseq without the
plugin, ours with it), both stay alive with everything warmed up, and the benchmark asks now one, now the other, for one
measurement (A B, B A, ...). The ratio is the median over such pairs, so what else the machine does hits both.
"""
