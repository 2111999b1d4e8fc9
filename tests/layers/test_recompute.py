"""--checkpoint-activations: the same numbers from less memory."""

import functools
from dataclasses import replace

import pytest
import torch
from builders import assert_same_gradients, batch, build_connection, gradients, randomise
from torch._dynamo.testing import CompileCounter

from b2t_fairseq.layers import recompute, stack
from b2t_fairseq.layers.recompute import recomputed
from benchmarks.cases import arch_of, training
from benchmarks.compare import compare


def recomputing(model):
    for layers in (model.encoder.layers, model.decoder.layers):
        layers.checkpoint_activations = True
    return model


def both(connection="b2t", **options):
    """The same model with and without recomputation."""
    plain, other = (randomise(build_connection(connection, **options)).train() for _ in range(2))
    return plain, recomputing(other)


def test_the_generator_is_left_where_it_would_be():
    states = []
    for model in both(dropout=0.3):
        torch.manual_seed(4)
        gradients(model, *batch())
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_both_passes_are_under_autocast():
    types, linear, x = [], torch.nn.Linear(4, 4), torch.ones(2, 4, requires_grad=True)

    def run(stream, context):
        stream = linear(stream)
        types.append(stream.dtype)
        return stream

    with torch.autocast("cpu", torch.bfloat16):
        once = recomputed(run, x, None, list(linear.parameters()), [])
        again = linear(x)
    again.sum().backward()  # outside, as fairseq does
    expected = linear.weight.grad.clone()
    once.sum().backward()
    assert types == [torch.bfloat16] * 2 and torch.equal(linear.weight.grad, 2 * expected) and expected.sum() > 0


def test_gradients_of_several_batches_add_up():
    found = []
    for model in both():
        for seed in (1, 2):
            model(batch(seed)[0], None, batch(seed)[1])[0].square().sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert_same_gradients(*found, tolerance=1e-7)


def test_frozen_parameters_stay_without_gradients():
    found = []
    for model in both():
        model.encoder.requires_grad_(False)  # and so no input of the encoder's layers has one
        model.decoder.layers[0].fc1.weight.requires_grad_(False)
        found.append(gradients(model, *batch()))
    assert not any(name.startswith("encoder.") for name in found[1])
    assert_same_gradients(*found, tolerance=1e-7)


def test_attention_that_is_asked_for_learns():
    found = []
    for model in both():
        source, target = batch()
        attention = model(source, None, target, alignment_layer=0)[1]["attn"][0]
        attention.square().sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert found[0]["decoder.layers.0.encoder_attn.q_proj.weight"].abs().sum() > 0
    found = [{name: g for name, g in of.items() if g.abs().sum() > 0} for of in found]
    assert_same_gradients(*found, tolerance=1e-7)


def test_what_a_layer_hands_on_goes_past_it():
    history, x = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    w = torch.nn.Parameter(torch.ones(2))

    def run(stream, context):
        new = stream[0] * w
        return new, (*stream[1], stream[0], new)

    stream = recomputed(run, (x, (history, x)), None, [w], [])
    assert [kept is given for kept, given in zip(stream[1], (history, x, x, stream[0]), strict=True)] == [True] * 4
    assert stream[0] is not x
    (stream[0].sum() + stream[1][0].sum()).backward()
    assert torch.equal(w.grad, x.grad) and torch.equal(history.grad, torch.ones(2))


def test_what_no_loss_depends_on_gets_nothing():
    class Nothing(torch.autograd.Function):
        forward = staticmethod(lambda ctx, x: x.clone())
        backward = staticmethod(lambda ctx, gradient: None)

    x, w = torch.ones(2, requires_grad=True), torch.nn.Parameter(torch.ones(2))
    Nothing.apply(recomputed(lambda stream, context: stream * w, x, None, [w], [])).sum().backward()
    assert w.grad is None and x.grad is None


def test_nothing_is_kept_but_inputs():
    """A layer's activations would be a dozen tensors; and the gradients of a layer lie in one block."""
    model = recomputing(randomise(build_connection("b2t")))
    source, target = batch()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        loss = model(source, None, target)[0].sum()
        layers = [t for t in kept if t.dim() == 3 and t.size(-1) == 32]
    assert len(layers) < 4 * (3 + 2)
    loss.backward()
    for layer in (*model.encoder.layers, *model.decoder.layers):
        starts = [p.grad.untyped_storage().data_ptr() for p in layer.parameters()]
        assert len(set(starts)) == 1


@pytest.mark.parametrize("connection", ["b2t", "dlcl_pre"])  # dlcl's weights are read by all layers
def test_distributed_training_takes_it(connection, tmp_path):
    plain, model = both(connection)
    expected = gradients(plain, *batch())
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", world_size=1, rank=0)
    try:
        found = gradients(torch.nn.parallel.DistributedDataParallel(model), *batch())
    finally:
        torch.distributed.destroy_process_group()
    assert_same_gradients({name.removeprefix("module."): g for name, g in found.items()}, expected, tolerance=1e-7)


@pytest.mark.slow
def test_compiled_layers_are_compiled_once(monkeypatch):
    """One graph for both passes: with and without gradients, compiled dropout would draw different masks."""
    counts, whole = [], torch.compile
    for make in (lambda model: model, recomputing):
        torch._dynamo.reset()
        stack.compiled.cache_clear()
        counter = CompileCounter()
        monkeypatch.setattr(torch, "compile", functools.partial(whole, backend=counter))
        gradients(make(randomise(build_connection("b2t", compile_layers=True)).train()), *batch())
        counts.append(counter.frame_count)
    assert counts[0] == counts[1] > 0
    stack.compiled.cache_clear()
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize("connection", ["b2t", "dlcl_pre", "resi_dual"])
def test_the_process_stays_small(connection):
    sides = []
    for arguments in (["--checkpoint-activations"], []):
        side = training(arch_of(connection), 40, 64, 1024, *arguments, name="recomputed" if arguments else "kept")
        sides.append(replace(side, options={**side.options, "vocabulary": 300}))  # or the logits are most of it
    assert compare(*sides, repeats=1, warmup=1).summary()["peak_ratio"] < 0.4


def test_gradients_of_one_layer_lie_side_by_side():
    a, b = torch.ones(2, 3), torch.ones(4)
    places = recompute.one_block([a, b])
    assert [p.shape for p in places] == [a.shape, b.shape]
    assert places[1].data_ptr() == places[0].data_ptr() + 6 * 4
    assert recompute.one_block([a, b.half()]) == [None, None] and recompute.one_block([]) == []
