"""--compile-layers: the same numbers, and no new compilation for each layer or batch."""

import functools

import pytest
import torch
from builders import assert_same_gradients, batch, build_connection, gradients, randomise
from torch._dynamo.testing import CompileCounter

from b2t_fairseq.layers import stack


@pytest.mark.slow
@pytest.mark.parametrize("connection", ["b2t", "resi_dual", "dlcl_pre"])  # a tensor, two, a growing tuple
def test_the_same_numbers_from_few_graphs(connection, monkeypatch):
    torch._dynamo.reset()
    counter = CompileCounter()  # traces and runs what it traced; the code generator behind it is torch's business
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counter))
    stack.compiled.cache_clear()
    depth = {"encoder_layers": 6, "decoder_layers": 6}
    plain, fast = (randomise(build_connection(connection, compile_layers=on, **depth)) for on in (False, True))
    expected = gradients(plain.train(), *batch())
    assert_same_gradients(gradients(fast.train(), *batch()), expected, tolerance=1e-5)
    assert counter.frame_count > 0
    gradients(fast, *(tokens[:4, :6] for tokens in batch(2)))
    graphs = counter.frame_count
    if connection != "dlcl_pre":  # each of its layers reads another number of tensors
        assert graphs <= 8, f"{graphs} graphs for 12 layers"
    for length in (5, 7):
        gradients(fast, *(tokens[:3, :length] for tokens in batch(3)))
    assert counter.frame_count <= graphs + 2
    stack.compiled.cache_clear()
    torch._dynamo.reset()


@pytest.mark.slow
def test_a_branch_warmup_compiles_no_layer_again_at_each_update(monkeypatch):
    torch._dynamo.reset()
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counter))
    stack.compiled.cache_clear()
    options = {"norm": "rms", "branch_warmup": 4, "encoder_layers": 3, "decoder_layers": 3}
    plain, fast = (randomise(build_connection("keel", compile_layers=on, **options)) for on in (False, True))
    graphs = []
    for updates in (0, 1, 5, 11):  # factors of all sizes, then of the lower layers none, then none at all
        for model in (plain.train(), fast.train()):
            model.set_num_updates(updates)
        assert_same_gradients(gradients(fast, *batch()), gradients(plain, *batch()), tolerance=1e-5)
        graphs.append(counter.frame_count)
    assert 0 < graphs[0] == graphs[1], f"graphs after each update: {graphs}"
    assert graphs[-1] <= 2 * graphs[0]
    stack.compiled.cache_clear()
    torch._dynamo.reset()
