"""Every connection against its written formula in plain torch: outputs, and gradients of inputs and parameters.

In float64, with padding, unequal depths, norms away from the identity, and a dropout that is a fixed pattern, so that
its place in the formula matters. A new connection has to bring its formula: `FORMULAS` is looked up by every name.
"""

import itertools
import math

import pytest
import torch
from builders import ALL_CONNECTIONS, randomise
from torch.nn import LayerNorm, functional

from b2t_fairseq.connections import get_connection, parse_options
from b2t_fairseq.layers import Context, Stack, StackConfig, additive_mask

WIDTH, HEADS, FFN = 16, 4, 24
DEPTHS = {"encoder": 5, "decoder": 4, "language model": 12}
STACKS = {
    "encoder": StackConfig("encoder", 5, WIDTH, FFN, HEADS, other_depth=4),
    "decoder": StackConfig("decoder", 4, WIDTH, FFN, HEADS, ("SA", "CA", "FF"), other_depth=5, memory_width=20),
    "language model": StackConfig("decoder", 12, WIDTH, FFN, HEADS),
}
OPTIONS = [
    *(("peri", "embedding_norm=true"), ("mix", "a=0.5"), ("mix", "a=1")),
    *(("b2t_no_ln", "final_norm=true"), ("b2t_no_ln", "beta_width=512")),
    *(("keel", "alpha=1.5"), ("keel", "final_norm=false"), ("span", "first_norm=false")),
    *(("complete_p", "alpha=0.5"), ("complete_p", "base_layers=2")),
    *((name, "gpas=true") for name in ("pre", "post", "deepnet", "peri", "ln_scaling", "b2t")),
    *(("hyper", "streams=1"), ("hyper", "streams=5"), ("mhc", "streams=2"), ("mhc", "sinkhorn=true")),
    *(("attn_res", "blocks=1"), ("attn_res", "blocks=3")),
]
PREFIX = {"SA": "self_attn", "CA": "encoder_attn", "FF": "final"}


class Pattern(torch.nn.Module):
    """In place of dropout: some channels doubled, some lost."""

    pattern = torch.tensor([2.0, 0.0, 1.0, 0.5]).double().repeat(WIDTH // 4)

    def forward(self, x):
        return x * self.pattern


def ln(x, norm, eps=1e-5):
    return functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, eps)


class Parts:
    """What a formula is written with: F, LN and the sizes; attention and feed-forward in plain torch."""

    def __init__(self, name, stack, final_norm, hidden, memory, memory_hidden):
        self.name = name  # one of STACKS
        self.stack, self.final_norm, self.own = stack, final_norm, stack.connection
        self.hidden, self.memory, self.memory_hidden = hidden, memory, memory_hidden
        self.config, self.L, self.d = stack.config, stack.config.depth, stack.config.width
        self.kinds = stack.config.kinds
        self.layers = range(1, self.L + 1)
        self.sublayers = range(len(self.kinds))
        self.last = self.sublayers[-1]
        self.all = [(l, j) for l in self.layers for j in self.sublayers]  # in the order of the forward pass

    def LN(self, l, j, x, name="layer_norm"):
        return ln(x, getattr(self.stack[l - 1], f"{PREFIX[self.kinds[j]]}_{name}"))

    def final(self, x, eps=1e-5):
        return ln(x, self.final_norm, eps)

    def G(self, l, x):
        """GPAS, if it is on."""
        g = None if self.own.gate is None else self.own.gate[l - 1]
        return x if g is None else x - g * torch.sigmoid(g) * x.detach()

    def F(self, l, j, x, **inner):
        return self.raw(l, j, x, **inner) * Pattern.pattern

    def raw(self, l, j, x, per_head=False, inner=False):
        layer, kind = self.stack[l - 1], self.kinds[j]
        if kind == "FF":
            h = layer.fc1(x).relu()
            return layer.fc2(ln(h, layer.ffn_layernorm) if inner else h)
        if kind == "SA":
            return self.attention(layer.self_attn, x, x, self.hidden, per_head, inner)
        return self.attention(layer.encoder_attn, x, self.memory, self.memory_hidden, per_head, inner)

    def attention(self, a, query, memory, hidden, per_head, inner):
        def heads(x, norm):  # (T, B, C) -> (B, H, T, d_head)
            x = torch.stack(x.split(self.d // HEADS, dim=-1)).permute(2, 0, 1, 3)
            return ln(x, getattr(a, norm)) if per_head else x

        q, k, v = heads(a.q_proj(query), "q_layer_norm"), a.k_proj(memory), a.v_proj(memory)
        k, v = heads(k, "k_layer_norm"), heads(v, "v_layer_norm")
        scores = torch.einsum("bhtd,bhsd->bhts", q, k) / math.sqrt(self.d // HEADS)
        x = scores.masked_fill(hidden, -math.inf).softmax(-1) @ v
        x = torch.cat(x.unbind(1), -1).transpose(0, 1)  # (B, H, T, d_head) -> (T, B, C)
        return a.out_proj(ln(x, a.inner_layer_norm) if inner else x)


def post(s, x):
    for l, j in s.all:
        x = s.LN(l, j, s.G(l, x) + s.F(l, j, x))
    return x


def pre(s, x):
    for l, j in s.all:
        x = s.G(l, x + s.F(l, j, s.LN(l, j, x)))
    return s.final(x)


def b2t(s, x):
    for l in s.layers:
        b = x
        for j in s.sublayers[:-1]:
            x = s.LN(l, j, s.G(l, x) + s.F(l, j, x))
        x = s.LN(l, s.last, b + s.G(l, x) + s.F(l, s.last, x))
    return x


def b2t_all(s, x):
    for l in s.layers:
        b = x
        for j in s.sublayers:
            x = s.LN(l, j, x + s.F(l, j, x))
        x = b + x
    return x


def b2t_no_ln(s, x):
    alpha, beta = min(s.L / 12, s.L**-0.15), (s.own.settings["beta_width"] or s.d) ** -0.2
    for l in s.layers:
        b = x
        for j in s.sublayers:
            x = x + s.F(l, j, x)
        x = alpha * b + beta * x
    return s.final(x) if s.final_norm else x


def deepnet(s, x):
    N, M = DEPTHS["encoder"], DEPTHS["decoder"]
    alpha = {
        "encoder": 0.81 * (N**4 * M) ** (1 / 16),
        "decoder": (3 * M) ** (1 / 4),
        "language model": (2 * DEPTHS["language model"]) ** (1 / 4),
    }[s.name]
    for l, j in s.all:
        x = s.LN(l, j, alpha * s.G(l, x) + s.F(l, j, x))
    return x


def admin(s, x):
    for (l, j), omega in zip(s.all, s.own.omega, strict=True):
        x = s.LN(l, j, omega * x + s.F(l, j, x))
    return x


def tfixup(s, x):
    for l, j in s.all:
        x = x + s.F(l, j, x)
    return x


def dlcl_pre(s, x):
    W, h = s.own.weight, [x]
    for l in s.layers:
        x = sum(W[l - 1, k] * h[k] for k in range(l))
        for j in s.sublayers:
            x = x + s.F(l, j, s.LN(l, j, x))
        h.append(ln(x, s.own.history_norms[l - 1]))
    return s.final(sum(W[s.L, k] * h[k] for k in range(s.L + 1)))


def dlcl_post(s, x):
    W, y, z = s.own.weight, [x], s.own.weight[0, 0] * x
    for l in s.layers:
        for j in s.sublayers:
            z = s.LN(l, j, z + s.F(l, j, z))
        y.append(z)
        z = ln(sum(W[l, k] * y[k] for k in range(l + 1)), s.own.history_norms[l - 1])
    return z


def resi_dual(s, x):
    r = x
    for l, j in s.all:
        f = s.F(l, j, x)
        x, r = s.LN(l, j, x + f), r + f
    return x + s.final(r, eps=1e-7)


def sub_ln(s, x):
    for l, j in s.all:
        x = x + s.F(l, j, s.LN(l, j, x), inner=s.kinds[j] != "CA")
    return s.final(x)


def peri(s, x):
    if s.own.settings["embedding_norm"]:
        x = ln(x, s.own.embedding_norm)
    for l, j in s.all:
        x = s.G(l, x + s.LN(l, j, s.raw(l, j, s.LN(l, j, x)), "out_layer_norm") * Pattern.pattern)
    return s.final(x)


def mix(s, x):
    K = math.floor(s.own.settings["a"] * s.L)
    for l, j in s.all:
        if l <= K:  # noqa: SIM108 (easier to read)
            x = s.LN(l, j, x + s.F(l, j, x))
        else:
            x = x + s.F(l, j, s.LN(l, j, x))
    return s.final(x)


def ln_scaling(s, x):
    for l, j in s.all:
        x = s.G(l, x + s.F(l, j, s.LN(l, j, x) / math.sqrt(l)))
    return s.final(x)


def hybrid(s, x):
    for l, j in s.all:
        if s.kinds[j] == "FF":
            x = s.LN(l, j, x)
            x = x + s.F(l, j, x)
        else:
            x = x + s.F(l, j, x, per_head=True)
    return s.final(x)


def hybrid_star(s, x):
    for l, j in s.all:
        if l == 1 and s.kinds[j] == "SA":
            x = x + s.F(l, j, s.LN(l, j, x), per_head=True)
        elif l == 1 and s.kinds[j] == "FF":
            x = x + s.F(l, j, s.LN(l, j, x))
        elif s.kinds[j] == "FF":
            x = s.LN(l, j, x)
            x = x + s.F(l, j, x)
        else:
            x = x + s.F(l, j, x, per_head=True)
    return s.final(x)


def keel(s, x):
    alpha = s.own.settings["alpha"] or {"encoder": 2 * 5, "decoder": 3 * 4, "language model": 2 * 12}[s.name]
    for l, j in s.all:
        f = s.F(l, j, s.LN(l, j, x))
        x = x + f if l == 1 else s.LN(l, j, alpha * x + f, "out_layer_norm")
    return s.final(x) if s.final_norm else x


def span(s, x):
    for l in s.layers:
        b = x
        for j in s.sublayers:
            has_first_norm = l == 1 and j == 0 and s.own.settings["first_norm"]
            f = s.F(l, j, ln(x, s.own.first_norm) if has_first_norm else x)
            x = s.LN(l, j, b + f) if j == s.last else s.LN(l, j, x + f)
    return x


def siamese(s, x):
    y = x
    for l, j in s.all:
        x = s.LN(l, j, x, "post_layer_norm")
        f = s.F(l, j, s.LN(l, j, x + s.LN(l, j, y, "pre_layer_norm")))
        x, y = x + f / math.sqrt(2 * l), y + f
    return s.final(ln(x, s.own.norm_a) + ln(y, s.own.norm_b))


def res_post(s, x):
    for l, j in s.all:
        x = x + s.LN(l, j, s.raw(l, j, x)) * Pattern.pattern
    return s.final(x)


def complete_p(s, x):
    m = s.L / s.own.settings["base_layers"]
    for l, j in s.all:
        x = x + s.F(l, j, s.LN(l, j, x)) / m ** s.own.settings["alpha"]
    return s.final(x)


def hyper(s, x):
    n = s.own.settings["streams"]
    h = [x] * n
    for (l, j), m in zip(s.all, s.own.mixing, strict=True):
        z = [(ln(h[i], m.norm) @ m.weight).tanh() for i in range(n)]  # of stream i (T, B, n + 2)

        def alpha(i, t, z=z, m=m):
            return (m.bias[i, t] + m.scale[0] * z[i][..., t]).unsqueeze(-1)

        f = s.F(l, j, s.LN(l, j, sum(alpha(i, 0) * h[i] for i in range(n))))
        beta = [(m.bias[i, n + 1] + m.scale[1] * z[i][..., n + 1]).unsqueeze(-1) for i in range(n)]
        h = [sum(alpha(i, 1 + t) * h[i] for i in range(n)) + beta[t] * f for t in range(n)]
    return s.final(sum(h))


def mhc(s, x):
    n = s.own.settings["streams"]
    h = [x] * n
    for (l, j), m in zip(s.all, s.own.mixing, strict=True):
        z = ln(torch.cat(h, -1), m.norm) @ m.weight
        p = m.scale[0] * z[..., :n] + m.bias[:n]
        q = m.scale[1] * z[..., n : 2 * n] + m.bias[n : 2 * n]
        r = m.scale[2] * z[..., 2 * n :] + m.bias[2 * n :]
        A = torch.zeros(*r.shape[:-1], n, n, dtype=r.dtype)
        if s.own.settings["sinkhorn"]:
            A = r.exp().view(A.shape)
            for _ in range(20):
                A = A / A.sum(-2, keepdim=True)
                A = A / A.sum(-1, keepdim=True)
        else:
            for weight, order in zip(r.softmax(-1).unbind(-1), itertools.permutations(range(n)), strict=True):
                for t in range(n):
                    A[..., t, order[t]] += weight
        f = s.F(l, j, s.LN(l, j, sum(p[..., [i]].sigmoid() * h[i] for i in range(n))))
        h = [sum(A[..., t, [i]] * h[i] for i in range(n)) + 2 * q[..., [t]].sigmoid() * f for t in range(n)]
    return s.final(sum(h))


def attn_res(s, x):
    def attend(sources, a):
        rms = [v / (v.square().mean(-1, keepdim=True) + 1e-5).sqrt() for v in sources]
        scores = torch.stack([(a.query * a.gain * v).sum(-1, keepdim=True) for v in rms])
        return sum(weight * v for weight, v in zip(scores.softmax(0), sources, strict=True))

    blocks = min(s.own.settings["blocks"], s.L)
    sources, own = [x], iter(s.own.attention)  # embedding, and a sum of branches for each block so far
    for l in s.layers:
        first = l == 1 or blocks * (l - 1) // s.L > blocks * (l - 2) // s.L
        for j in s.sublayers:
            f = s.F(l, j, s.LN(l, j, attend(sources, next(own)) if len(sources) > 1 else x))
            sources = [*sources, f] if first and j == 0 else [*sources[:-1], sources[-1] + f]
    return s.final(attend(sources, next(own)))


FORMULAS = {
    formula.__name__: formula
    for formula in (
        *(post, pre, b2t, b2t_no_ln, b2t_all, deepnet, admin, tfixup, dlcl_pre, dlcl_post, resi_dual, sub_ln, peri),
        *(mix, ln_scaling, hybrid, hybrid_star, keel, span, siamese, res_post, complete_p),
        *(hyper, mhc, attn_res),
    )
}


def build_stack(connection: str, config: StackConfig, options: str = "") -> tuple[Stack, LayerNorm | None]:
    """A stack, and the final norm that its connection asks for, in float64 and randomised."""
    cls = get_connection(connection)
    torch.manual_seed(0)
    own = cls(config, **parse_options(cls, options))
    final_norm = LayerNorm(config.width, eps=own.final_norm_eps) if own.has_final_norm else None
    holder = torch.nn.ModuleDict({"layers": Stack(config, own)} | ({"layer_norm": final_norm} if final_norm else {}))
    for layer in randomise(holder.double()).layers:
        layer.dropout_module = Pattern()
    return holder.layers, final_norm


@pytest.mark.parametrize("stack_name", STACKS)
@pytest.mark.parametrize(("connection", "options"), [*((name, "") for name in ALL_CONNECTIONS), *OPTIONS])
def test_formula(connection, options, stack_name):
    config = STACKS[stack_name]
    stack, final_norm = build_stack(connection, config, options)
    x = torch.randn(6, 3, WIDTH, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(5, 3, 20, dtype=torch.float64, requires_grad=True)
    padding, memory_padding = torch.zeros(3, 6, dtype=torch.bool), torch.zeros(3, 5, dtype=torch.bool)
    padding[1, 4:] = memory_padding[0, :2] = True
    future = torch.ones(6, 6, dtype=torch.bool).triu(1)
    hidden = padding[:, None, None, :] | (future if config.side == "decoder" else False)

    context = Context(
        mask=additive_mask(padding, x, causal_length=6 if config.side == "decoder" else 0),
        memory=memory,
        memory_mask=additive_mask(memory_padding, x),
    )
    actual = stack(x, context, final_norm)
    parts = Parts(stack_name, stack, final_norm, hidden, memory, memory_padding[:, None, None, :])
    expected = FORMULAS[connection](parts, x)
    assert_close(actual, expected, "output")

    inputs = {"x": x, **({"memory": memory} if "CA" in config.kinds else {})}
    inputs |= dict(stack.named_parameters())
    inputs |= {f"final_norm.{name}": p for name, p in final_norm.named_parameters()} if final_norm else {}
    upstream = torch.randn(actual.shape, dtype=torch.float64)
    for name, ours, theirs in zip(inputs, *(grads(y, inputs, upstream) for y in (actual, expected)), strict=True):
        assert_close(ours, theirs, name)


def grads(y, inputs, upstream):
    """Fails if one of the inputs does not contribute."""
    return torch.autograd.grad(y, list(inputs.values()), upstream, retain_graph=True)


def assert_close(ours, theirs, name):
    scale = theirs.abs().max().clamp(min=1e-3)  # the floor is for k_proj.bias, whose gradient is 0 but for rounding
    difference = ((ours - theirs).abs().max() / scale).item()
    assert difference <= 1e-8, f"{name}: {difference}"
