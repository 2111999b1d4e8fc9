"""The fused losses against fairseq's: values, gradients, padding, what they do without a kernel."""

from types import SimpleNamespace

import pytest
import torch
from builders import PAD, build_connection, build_language_model, dictionary, randomise
from fairseq.criterions import CRITERION_REGISTRY

from b2t_fairseq import native

TASK = SimpleNamespace(target_dictionary=dictionary())
OPTIONS = {"cross_entropy": [{}], "label_smoothed_cross_entropy": [{"label_smoothing": e} for e in (0.0, 0.1, 0.6)]}
CASES = [(name, options) for name, several in OPTIONS.items() for options in several]


def criterion(name: str, **options):
    return CRITERION_REGISTRY[name](TASK, sentence_avg=False, **options)


def batch(seed: int = 1, longest: int = 9) -> dict:
    """Four sentences, the last two padded on the right."""
    random = torch.Generator().manual_seed(seed)
    tokens, target, source = (torch.randint(4, 28, (4, longest), generator=random) for _ in range(3))
    for row, length in ((2, 5), (3, 1)):
        tokens[row, length:] = target[row, length:] = PAD
    inputs = {"prev_output_tokens": tokens, "src_tokens": source, "src_lengths": torch.full((4,), longest)}
    return {"net_input": inputs, "target": target, "ntokens": int((target != PAD).sum())}


def losses_and_gradients(criterion, model, sample, reduce: bool):
    model.zero_grad()
    loss, size, log = criterion(model, sample, reduce=reduce)
    weights = torch.rand(loss.shape, generator=torch.Generator().manual_seed(3))
    (loss * weights).sum().backward()
    return loss.detach(), log, size, [p.grad for p in model.parameters()]


@pytest.mark.parametrize("reduce", [True, False])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_same_as_fairseqs(name, options, reduce, monkeypatch):
    if native.kernels() is None:
        pytest.skip("no C++ compiler")
    calls = []
    monkeypatch.setattr(native, "log_sums", lambda *a, real=native.log_sums: calls.append(a) or real(*a))
    model, sample = randomise(build_connection("pre")).train(), batch()
    found = losses_and_gradients(criterion(f"{name}_fused", **options), model, sample, reduce)
    expected = losses_and_gradients(criterion(name, **options), model, sample, reduce)
    assert calls and found[0].shape == expected[0].shape
    assert torch.allclose(found[0], expected[0], rtol=1e-5, atol=1e-5) and found[2] == expected[2]
    assert found[1].keys() == expected[1].keys()
    for key, value in expected[1].items():
        assert torch.allclose(torch.as_tensor(found[1][key]), torch.as_tensor(value), rtol=1e-5, atol=1e-5), key
    for a, b in zip(found[3], expected[3], strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_adaptive_softmax_is_fairseqs():
    model, sample = randomise(build_language_model("transformer_lm_pre_6")), batch()
    sample["net_input"] = {"src_tokens": sample["net_input"]["prev_output_tokens"]}
    found, expected = (criterion(name)(model, sample)[0] for name in ("cross_entropy_fused", "cross_entropy"))
    assert torch.equal(found, expected)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_scores_in_bfloat16(name, options, monkeypatch):
    """As autocast leaves them: the loss is computed in float32, and the gradient rounded once, as in fairseq's."""
    if native.kernels() is None:
        pytest.skip("no C++ compiler")
    calls = []
    monkeypatch.setattr(native, "log_sums", lambda *a, real=native.log_sums: calls.append(a) or real(*a))
    model, sample = randomise(build_connection("pre")).train(), batch()
    found, expected = [], []
    for results, criterion_name in ((found, f"{name}_fused"), (expected, name)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            results += losses_and_gradients(criterion(criterion_name, **options), model, sample, reduce=True)
    assert calls[0][0].dtype == torch.bfloat16 and found[0].dtype == torch.float32
    assert torch.allclose(found[0], expected[0], rtol=1e-5)
    for a, b in zip(found[3], expected[3], strict=True):
        assert torch.allclose(a, b, rtol=0.02, atol=0.02 * b.abs().max())


@pytest.mark.parametrize("words", [2, 15, 16, 17, 100])
def test_any_size_of_vocabulary_and_of_scores(words):
    if native.kernels() is None:
        pytest.skip("no C++ compiler")
    random = torch.Generator().manual_seed(words)
    x = torch.randn(5, words, generator=random) * torch.tensor([1e-3, 1, 10, 1e3, 1]).unsqueeze(1)
    x[4, words // 2] = float("nan")
    target = torch.randint(words, (5,), generator=random)
    norms, totals, nll = native.log_sums(x, target)
    expected = x.double().logsumexp(1)
    assert torch.allclose(norms[:4].double(), expected[:4], rtol=1e-6, atol=1e-6) and norms[4].isnan()
    assert torch.allclose(totals[:4].double(), x[:4].double().sum(1), rtol=1e-5, atol=1e-4) and totals[4].isnan()
    assert torch.equal(nll[:4], norms[:4] - x[:4].gather(1, target[:4, None])[:, 0])
    factors = torch.tensor([1.0, 0.0, 2.0, -1.0, 1.0])
    found = native.softmax_minus(x, target, norms, factors, 0.01, 0.9)
    one = torch.nn.functional.one_hot(target, words)
    exact = factors[:, None] * ((x.double() - expected[:, None]).exp() - 0.01 - 0.9 * one)
    assert torch.allclose(found[:4].double(), exact[:4], atol=1e-4 if words > 2 else 1e-3) and found[4].isnan().any()


@pytest.mark.parametrize("reason", ["no kernel", "prefix", "float16"])
def test_fairseqs_own_where_there_is_no_kernel(reason, monkeypatch):
    monkeypatch.setattr(native, "log_sums", None)  # would fail if it were called
    options, model = {"label_smoothing": 0.1}, randomise(build_connection("pre")).train()
    if reason == "no kernel":
        monkeypatch.setattr(native, "kernels", lambda: None)
    elif reason == "prefix":
        options["ignore_prefix_size"] = 2
    else:
        model = model.to(torch.float16)
    names = ("label_smoothed_cross_entropy_fused", "label_smoothed_cross_entropy")
    found, expected = (criterion(name, **options)(model, batch())[0] for name in names)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", OPTIONS)
def test_either_continues_the_others_checkpoints(name):
    """fairseq's trainer goes on only with a checkpoint whose criterion has the same class name."""
    assert CRITERION_REGISTRY[f"{name}_fused"].__name__ == CRITERION_REGISTRY[name].__name__
