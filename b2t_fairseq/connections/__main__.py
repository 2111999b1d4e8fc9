"""`python -m b2t_fairseq.connections [--layers N-M] [--width D]`: the table of all connections.

The table builds stacks, and connections know nothing of stacks: so it lives in `analysis`, and is started by its name.
"""

import runpy

runpy.run_module("b2t_fairseq.analysis.connections_table", run_name="__main__")
