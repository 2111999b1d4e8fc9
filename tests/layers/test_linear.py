"""--split-products: gradients as those of torch's products, weights packed once an update; AMX is emulated."""

import copy
import logging
import pickle

import pytest
import torch
from builders import (
    assert_same_gradients,
    batch,
    build_connection,
    build_language_model,
    build_speech,
    randn,
    randomise,
    speech,
)
from end_to_end import NARROW, TRAINING, make_data, weights
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from b2t_fairseq import UserError, native
from b2t_fairseq.layers import linear
from b2t_fairseq.layers.activation import relu
from b2t_fairseq.layers.linear import Linear, use_split_products
from b2t_fairseq.layers.packed import SplitLinear, prepared
from b2t_fairseq.models.language_model import B2TLanguageModel
from b2t_fairseq.models.speech_to_text import B2TSpeechToTextModel
from b2t_fairseq.models.translation import B2TTransformerModel
from b2t_fairseq.optim.adam_fused import FairseqFusedAdam, FusedAdamConfig

SPLIT = "--split-products"


@pytest.fixture
def packs(emulated_amx, monkeypatch):
    """Split products whatever the sizes; what was packed: (is it a parameter, transposed)."""
    monkeypatch.setattr(linear, "FEWEST_SPLIT_ROWS", 1)
    monkeypatch.setattr(linear, "SMALLEST_SPLIT_WIDTH", 1)
    linear.warn_once.cache_clear()
    packs, real = [], native.pack

    def pack(x, transposed=False):
        packs.append((isinstance(x, nn.Parameter), transposed))
        return real(x, transposed)

    monkeypatch.setattr(native, "pack", pack)
    return packs


def splitting(*sizes, **options) -> Linear:
    layer = Linear(*sizes, **options)
    use_split_products(layer)
    return layer


def of_both(layer, x):
    """Output, and gradients of x and the parameters, by the layer and by torch's products."""
    found = []
    for product in (layer, lambda x: F.linear(x, layer.weight, layer.bias)):
        layer.zero_grad()
        own = x.clone().requires_grad_()
        y = product(own)
        (y * randn(*y.shape, seed=9)).sum().backward()
        found.append([y.detach(), own.grad, *(p.grad.clone() for p in layer.parameters())])
    return found


@pytest.mark.parametrize("bias", [True, False])
def test_switched_off_it_is_torchs_to_the_bit(bias):
    layers = []
    for kind in (nn.Linear, Linear):
        torch.manual_seed(1)
        layers.append((kind(40, 50, bias), torch.rand(1)))
    (stock, after), (ours, after_ours) = layers
    assert stock.state_dict().keys() == ours.state_dict().keys() and torch.equal(after, after_ours)
    assert all(map(torch.equal, stock.parameters(), ours.parameters()))
    assert all(map(torch.equal, *of_both(ours, randn(3, 2, 40))))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(33, 48), (5, 7, 48), (1, 48), (2, 3, 4, 48)])
def test_output_and_gradients_are_those_of_torchs_products(packs, shape, bias):
    found, expected = of_both(splitting(48, 70, bias=bias), randn(*shape))
    assert packs == [(True, False), (True, True), (False, True)]
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and (a - b).abs().max() <= 2e-6 * b.abs().max()
    assert not any(map(torch.equal, found[:3], expected[:3])), "torch's own products"


def test_only_gradients_that_are_wanted(packs):
    layer = splitting(32, 40)
    layer.weight.requires_grad_(False)
    x = randn(6, 32, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None and x.grad is not None and layer.bias.grad is not None
    assert packs == [(True, False), (True, True)]
    layer.requires_grad_(True)
    layer(randn(6, 32)).sum().backward()
    assert layer.weight.grad is not None and packs[2:] == [(False, True)]


def test_gradients_have_gradients(packs):
    layer, found = splitting(32, 40), []
    for product in (layer, lambda x: F.linear(x, layer.weight, layer.bias)):
        x = randn(6, 32, requires_grad=True)
        first = torch.autograd.grad(product(x).tanh().sum(), (x, layer.weight), create_graph=True)
        found.append(torch.autograd.grad(sum((g**2).sum() for g in first), (x, layer.weight)))
    for a, b in zip(*found, strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


def gradients(model) -> dict[str, torch.Tensor]:
    """Gradients of a loss of all that the model returns first."""
    source, target = batch()
    inputs = {
        B2TTransformerModel: (source, None, target),
        B2TLanguageModel: (target,),
        B2TSpeechToTextModel: (*speech(), target),
    }
    y = model(*inputs[type(model)])[0]
    (y.tanh() * torch.linspace(-1, 1, y.size(-1))).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


PLAIN_SOFTMAX = {"adaptive_input": False, "adaptive_softmax_cutoff": None, "tie_adaptive_weights": False}
MODELS = {
    "b2t": (build_connection, {"connection": "b2t"}),
    "post": (build_connection, {"connection": "post", "share_all_embeddings": True}),
    "resi_dual": (build_connection, {"connection": "resi_dual", "checkpoint_activations": True}),
    "shared": (build_connection, {"connection": "pre", "share_layers": "cycle", "unique_layers": 1}),
    "language model": (build_language_model, PLAIN_SOFTMAX),
    "adaptive": (build_language_model, {}),
    "speech": (build_speech, {}),
}


@pytest.mark.parametrize("model", MODELS)
def test_a_models_gradients_are_those_without(model, packs):
    build, options = MODELS[model]
    plain, split = (randomise(build(split_products=splits, **options)).train() for splits in (False, True))
    assert plain.state_dict().keys() == split.state_dict().keys()
    assert all(map(torch.equal, plain.parameters(), split.parameters()))
    assert_same_gradients(gradients(split), gradients(plain), tolerance=1e-5)
    layers = [name for name, module in split.named_modules() if isinstance(module, Linear)]
    stock = [name for name, module in plain.named_modules() if isinstance(module, nn.Linear)]
    others = (
        "encoder.ctc_proj",
        "decoder.adaptive_softmax.",
        "decoder.embed_tokens.",
    )  # of fairseq's, beside the stack
    assert [name for name in stock if name not in layers and not name.startswith(others)] == []
    assert ("decoder.output_projection" in layers) == (model != "adaptive")
    assert packs.count((True, False)) == packs.count((True, True)) == len(layers)


@pytest.mark.parametrize("update_freq", [1, 2])
@pytest.mark.parametrize(("kind", "config"), [(FairseqAdam, FairseqAdamConfig), (FairseqFusedAdam, FusedAdamConfig)])
def test_weights_are_packed_once_an_update(packs, update_freq, kind, config):
    """Though neither Adam's updates count as new versions of the weights."""
    plain, split = (randomise(build_connection("b2t", split_products=splits)).train() for splits in (False, True))
    config = config(lr=[1e-2], adam_betas="(0.9, 0.98)")
    optimizers = [kind(config, list(model.parameters())) for model in (plain, split)]
    layers = sum(isinstance(module, Linear) for module in split.modules())
    for update in range(1, 4):
        for model, optimizer in zip((plain, split), optimizers, strict=True):
            for _ in range(update_freq):
                found = gradients(model)
            optimizer.step()
            optimizer.zero_grad()
            if model is plain:
                expected = found
        assert packs.count((True, False)) == packs.count((True, True)) == update * layers
        assert_same_gradients(found, expected, tolerance=1e-2)  # Adam makes steps of rounding errors, too


def test_a_weight_that_was_changed_is_packed_again(packs):
    layer, x = splitting(40, 33), randn(6, 40)

    def is_new() -> bool:
        count = len(packs)
        y = layer(x)
        assert torch.allclose(y, F.linear(x, layer.weight, layer.bias), atol=1e-5)
        return len(packs) > count

    assert is_new() and not is_new()
    layer.load_state_dict({name: 2 * value for name, value in layer.state_dict().items()})
    assert is_new() and not is_new()
    layer.weight.data = randn(33, 40)
    assert is_new() and not is_new()
    nn.init.xavier_uniform_(layer.weight)
    assert is_new() and not is_new()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_begins_without_packed_weights(packs, copied):
    layer, x = splitting(40, 33), randn(6, 40, requires_grad=True)
    layer(x).sum().backward()
    assert len(layer.packed_weight.packed) == 2
    other = copied(layer)
    assert other.packed_weight.packed == {} and other.splits and layer.packed_weight.packed
    with torch.no_grad():
        other.weight.mul_(2)
    assert not torch.allclose(other(x), layer(x), atol=1e-2)


def test_a_pickled_layer_has_updates_counted(monkeypatch):
    """In the process that loads it nobody else asks for that."""
    plain, split = (pickle.dumps(layer) for layer in (Linear(3, 2), splitting(3, 2)))
    asked = []
    monkeypatch.setattr(linear, "count_updates", lambda: asked.append(True))
    pickle.loads(plain)
    assert not asked
    assert pickle.loads(split).splits and asked


@pytest.mark.parametrize("case", ["evaluation", "few rows", "narrow", "autocast", "double", "computed weight"])
def test_where_torchs_products_stay(packs, monkeypatch, caplog, case):
    layer, x = splitting(40, 33), randn(6, 40)
    if case == "evaluation":
        layer.eval()
    elif case == "few rows":
        monkeypatch.setattr(linear, "FEWEST_SPLIT_ROWS", 7)
    elif case == "narrow":
        monkeypatch.setattr(linear, "SMALLEST_SPLIT_WIDTH", 34)
    elif case == "double":
        layer, x = layer.double(), x.double()
    elif case == "computed weight":
        nn.utils.parametrize.register_parametrization(layer, "weight", nn.Tanh())
    with torch.autocast("cpu", enabled=case == "autocast"):
        for _ in range(2):
            assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
    assert packs == []
    said = [record.message for record in caplog.records]
    expected = "--split-products: they are for float32 on a CPU; torch's products are used"
    assert said == ([expected] if case in ("autocast", "double") else [])


@pytest.mark.parametrize("dtype", native.DTYPES)
@pytest.mark.parametrize("rows", [1, 31, 32, 200])
def test_evaluation_without_gradients(monkeypatch, dtype, rows):
    """Few rows read each weight once; bfloat16 is widened where the processor has no products of it."""
    few = []
    real = native.FewRows
    monkeypatch.setattr(native, "FewRows", lambda *args, **options: few.append(1) or real(*args, **options))
    layer, x = Linear(40, 33, dtype=dtype).eval(), randn(1, rows, 40).to(dtype)
    expected = F.linear(x.double(), layer.weight.double(), layer.bias.double())
    for has_products in (True, False):
        monkeypatch.setattr(linear, "has_products", lambda _, has=has_products: has)
        few.clear()
        with torch.no_grad():
            found = layer(x)
        assert found.dtype == dtype and (found - expected).abs().max() <= (1e-5 if dtype == torch.float32 else 0.02)
        assert bool(few) == (rows < 32 and native.kernels() is not None)
        few.clear()
        assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias)) and few == []  # with a graph
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16 and few == []
        with torch.no_grad():
            assert torch.equal(layer.train()(x), F.linear(x, layer.weight, layer.bias)) and few == []
        layer.eval()


@torch.no_grad()
def test_what_does_not_fit_is_torchs_error():
    layer = Linear(40, 33).eval()
    for x in (randn(2, 39), randn(2, 40).bfloat16()):
        with pytest.raises(RuntimeError, match=r"mat1|dtype"):
            layer(x)


@torch.no_grad()
def test_torch_can_follow_an_evaluation():
    """Traces, counters and transformations see every operation; a kernel of ours would be missing in them."""
    layer, x = Linear(40, 33).eval(), randn(3, 40)
    expected = layer(x)
    with FlopCounterMode(display=False) as counter:
        layer(x)
    assert counter.get_total_flops() == 2 * 3 * 40 * 33
    assert torch.allclose(torch.jit.trace(layer, x)(x), expected, atol=1e-5)
    assert torch.allclose(torch.func.vmap(layer)(x), expected, atol=1e-5)
    assert torch.func.jvp(layer, (x,), (x,))[1].abs().sum() > 0
    with FakeTensorMode() as mode:
        fake = Linear(40, 33).eval()
        assert fake(mode.from_tensor(x)).shape == (3, 33)


def test_weights_of_another_dtype_and_back_are_packed_again(packs):
    layer, x = splitting(40, 33), randn(6, 40)
    layer(x)
    layer.bfloat16().float()
    assert torch.allclose(layer(x), F.linear(x, layer.weight, layer.bias), atol=1e-5)
    layer.weight.data = torch.empty(0)
    layer.weight.data = randn(33, 40, seed=9)
    assert torch.allclose(layer(x), F.linear(x, layer.weight, layer.bias), atol=1e-5)
    layer.weight.data.mul_(2)
    layer.packed_weight.clear()  # as the docstring asks of whoever writes there by hand
    assert torch.allclose(layer(x), F.linear(x, layer.weight, layer.bias), atol=1e-5)


def test_what_does_not_fit_is_torchs_error_in_training(packs):
    layer = splitting(40, 33)
    for x in (randn(6, 41), randn(6, 39)):
        with pytest.raises(RuntimeError, match="mat1"):
            layer(x)
    assert packs == []
    layer.bias = nn.Parameter(torch.ones(1).expand(33))
    x = randn(40, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert torch.allclose(y, F.linear(x, layer.weight, layer.bias), atol=1e-5)
    assert torch.allclose(x.grad, layer.weight.sum(0), atol=1e-5)


def test_the_log_says_once_where_there_is_no_amx(packs, monkeypatch, caplog):
    """A training that was begun elsewhere can be resumed here."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(native, "has_linear", lambda: False)
    layer, x = splitting(40, 33), randn(6, 40)
    assert all(torch.equal(layer(x), F.linear(x, layer.weight, layer.bias)) for _ in range(2))
    assert [record.message for record in caplog.records if "split" in record.message] == [
        "--split-products: this machine has no AMX, or no compiler for it; torch's products are used"
    ]


def test_a_training_is_resumed_with_and_without(packs, tmp_path, here):
    """And on a machine that has no AMX."""
    train = ["train", make_data(tmp_path), *NARROW, *TRAINING, "--update-freq", "2", "--save-dir"]
    here(*train, tmp_path / "stock", "--max-update", "3")
    assert packs == []
    for updates, options in (("1", [SPLIT]), ("2", []), ("3", [SPLIT])):
        before = len(packs)
        here(*train, tmp_path / "split", "--max-update", updates, *options)
        assert (len(packs) > before) == bool(options)
    stock, split = (weights(tmp_path / name / "checkpoint_last.pt") for name in ("stock", "split"))
    assert stock.keys() == split.keys()
    assert all(torch.allclose(split[name], weight, atol=1e-4) for name, weight in stock.items())
    packs.clear()
    native.has_linear.cache_clear()
    with pytest.MonkeyPatch.context() as without:
        without.setattr(native, "kernels", lambda: None)
        log = here(*train, tmp_path / "split", "--max-update", "4", SPLIT)
        native.has_linear.cache_clear()
    assert log.count("torch's products are used") == 1 and "@ 4 updates" in log and packs == []


def test_compiled_layers_are_refused():
    for build in (build_connection, build_language_model, build_speech):
        with pytest.raises(UserError, match="^--split-products does not go with --compile-layers, .*leave out either$"):
            options = {"connection": "b2t", "split_products": True, "compile_layers": True}
            build(**options)


def test_decodings_product_packs_in_the_same_way(emulated_amx):
    layers, x = [nn.Linear(64, width) for width in (30, 50)], randn(40, 64)
    product = prepared(layers, rows=40, then=relu)
    assert isinstance(product, SplitLinear)
    expected = torch.cat([layer(x) for layer in layers], 1).relu()
    assert (product(x) - expected).abs().max() <= 2e-6 * expected.max()
