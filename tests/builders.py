"""Small models and batches for tests."""

from argparse import Namespace
from types import SimpleNamespace

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY, build_model

import b2t_fairseq

ALL_CONNECTIONS = tuple(b2t_fairseq.connections.CONNECTIONS)
PAD, EOS = 1, 2


def dictionary(words: int = 46) -> Dictionary:
    words_only = Dictionary()
    for i in range(words):
        words_only.add_symbol(f"w{i}")
    return words_only


def build(arch: str = "transformer_b2t_6_6", seed: int = 1, **options):
    """A narrow model of an architecture; 3 encoder and 2 decoder layers unless said otherwise, no dropout."""
    args = Namespace(
        **{
            "arch": arch,
            "dropout": 0.0,
            **{
                f"{side}_{name}": value
                for side, layers in (("encoder", 3), ("decoder", 2))
                for name, value in {
                    "embed_dim": 32,
                    "ffn_embed_dim": 48,
                    "attention_heads": 2,
                    "layers": layers,
                }.items()
            },
            **options,
        }
    )
    ARCH_CONFIG_REGISTRY[arch](args)
    vocabulary = dictionary()
    torch.manual_seed(seed)
    task = SimpleNamespace(source_dictionary=vocabulary, target_dictionary=vocabulary)
    return ARCH_MODEL_REGISTRY[arch].build_model(args, task)


def build_language_model(arch: str = "transformer_lm_b2t", seed: int = 1, **options):
    """A narrow language model of 3 layers with adaptive input and softmax, no dropout."""
    sizes = {"embed_dim": 32, "ffn_embed_dim": 48, "attention_heads": 2, "layers": 3, "input_dim": 32, "output_dim": 32}
    adaptive = {
        **{name: True for name in ("adaptive_input", "tie_adaptive_weights", "tie_adaptive_proj")},
        **{name: "10,20" for name in ("adaptive_input_cutoff", "adaptive_softmax_cutoff")},
    }
    kinds = ("dropout", "attention_dropout", "activation_dropout", "adaptive_softmax_dropout")
    sizes = {f"decoder_{name}": value for name, value in sizes.items()}
    args = {"arch": arch, **dict.fromkeys(kinds, 0.0), **sizes, **adaptive, "max_target_positions": 64}
    args = Namespace(**{**args, **options})
    ARCH_CONFIG_REGISTRY[arch](args)
    torch.manual_seed(seed)
    task = SimpleNamespace(source_dictionary=dictionary(), target_dictionary=dictionary())
    return build_model(args, task)


def build_speech(arch: str = "s2t_transformer_b2t_6_6", seed: int = 1, **options):
    """A narrow speech recogniser, 3 encoder and 2 decoder layers, with a CTC head, no dropout."""
    sizes = {
        f"{side}_{k}": v for side in ("encoder", "decoder") for k, v in (("embed_dim", 32), ("attention_heads", 2))
    }
    sizes |= {"encoder_layers": 3, "decoder_layers": 2, "encoder_ffn_embed_dim": 48, "decoder_ffn_embed_dim": 48}
    audio = {
        "input_feat_per_channel": 8,
        "input_channels": 1,
        "conv_channels": 16,
        "max_source_positions": 200,
        "max_target_positions": 50,
    }
    args = Namespace(**{"arch": arch, "dropout": 0.0, "ctc_weight": 0.3, **sizes, **audio, **options})
    ARCH_CONFIG_REGISTRY[arch](args)
    torch.manual_seed(seed)
    return build_model(args, SimpleNamespace(target_dictionary=dictionary()))


def speech(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Filter banks (5, 40, 8), padded on the right, and their lengths."""
    lengths = torch.tensor([40, 33, 21, 40, 9])
    features = torch.randn(5, 40, 8, generator=torch.Generator().manual_seed(seed))
    features[torch.arange(40)[None] >= lengths[:, None]] = 0.0
    return features, lengths


def build_connection(connection: str, **options):
    return build(connection=connection, **options)


def randomise(model, seed: int = 3):
    """Norms, biases and whatever a connection has of its own, away from 1 and 0: a forgotten one shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 or ".connection." in name:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def randn(*shape, dtype=torch.float32, seed: int = 1, requires_grad: bool = False) -> torch.Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return x.requires_grad_(requires_grad)


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Source (5, 9), padded on the left, and shifted target (5, 7), padded on the right, as fairseq pads them."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(4, 50, (5, 9), generator=generator)
    target = torch.randint(4, 50, (5, 7), generator=generator)
    target[:, 0] = EOS
    source[1, :3] = source[2, :5] = target[3, 4:] = target[4, 6:] = PAD
    return source, target


def gradients(model, source, target) -> dict[str, torch.Tensor]:
    """Gradients of a loss in which every logit of a real target position counts differently."""
    model.zero_grad()
    logits = model(source, None, target)[0]
    weight = torch.linspace(-1, 1, logits.size(-1))
    real = target.ne(PAD).unsqueeze(-1)
    (logits.tanh() * weight * real).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(first: dict, second: dict, tolerance: float) -> None:
    """Equal up to `tolerance` times the largest gradient of all: k_proj.bias has none but rounding."""
    assert first.keys() == second.keys()
    scale = max(g.abs().max() for g in first.values())
    for name in first:
        difference = (first[name] - second[name]).abs().max() / scale
        assert difference <= tolerance, f"{name}: {difference}"
