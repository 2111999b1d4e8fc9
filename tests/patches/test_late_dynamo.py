"""A training does without torch's compiler, and with it the compiler stays out of the optimizer as before."""

import subprocess
import sys

from end_to_end import environment

CODE = """
import sys
import b2t_fairseq
import torch

weights = [torch.nn.Parameter(torch.ones(3))]
optimizer = torch.optim.Adam(weights, lr=0.1)
optimizer.load_state_dict(optimizer.state_dict())
optimizer.zero_grad()
assert "torch._dynamo" not in sys.modules, "imported"
import torch._dynamo

optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))]})
assert len(optimizer.param_groups) == 2
method = torch.optim.Optimizer.add_param_group.__wrapped__
assert torch._dynamo.is_compiling() is False
assert getattr(method, "__dynamo_disable")._torchdynamo_disable, "not kept from the compiler"
"""


def test_the_compiler_is_imported_by_those_who_compile():
    done = subprocess.run([sys.executable, "-c", CODE], env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
