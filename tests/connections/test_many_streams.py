"""Hyper-Connections, mHC and Attention Residuals: what they are before the first update, and their matrices' values."""

import pytest
import torch
from builders import PAD, batch, build_connection, randomise

from b2t_fairseq import UserError
from b2t_fairseq.connections import get_connection, parse_options
from b2t_fairseq.connections.attn_res import BlockStream
from b2t_fairseq.connections.hyper import Streams
from b2t_fairseq.connections.mhc import sinkhorn
from b2t_fairseq.layers import StackConfig

OPTIONS = [("hyper", ""), ("hyper", "streams=3"), ("mhc", ""), ("mhc", "streams=2"), ("mhc", "streams=5,sinkhorn=true")]


def connection(name: str, options: str = "", depth: int = 3, width: int = 16):
    """As in a new encoder of two sub-layers a layer."""
    cls = get_connection(name)
    return cls(StackConfig("encoder", depth, width, 4 * width, 2, other_depth=depth), **parse_options(cls, options))


def randomised(name: str, options: str = ""):
    own = connection(name, options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in own.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)
    return own


def values(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "options"), [*OPTIONS, ("mhc", "sinkhorn=true"), ("attn_res", "blocks=2")])
def test_a_new_model_is_pre(name, options):
    pre = randomise(build_connection("pre")).eval()
    other = build_connection(name, connection_options=options).eval()
    missing, unexpected = other.load_state_dict(pre.state_dict(), strict=False)
    assert missing and not unexpected and all(".connection." in key for key in missing)
    source, target = batch()
    expected, actual = (model(source, None, target)[0][target.ne(PAD)] for model in (pre, other))
    # the LNs of attn_res read 1 / (2...4) of Pre-LN's stream, so that eps counts for more
    assert (actual - expected).abs().max() <= (1e-4 if name == "attn_res" else 1e-5) * expected.abs().max()


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_a_layers_output_is_the_sum_of_the_streams(name, options):
    """At first n times Pre-LN's."""
    pre = randomise(build_connection("pre")).eval()
    other = build_connection(name, connection_options=options).eval()
    other.load_state_dict(pre.state_dict(), strict=False)
    states, sums = (m.encoder(batch()[0], return_all_hiddens=True)["encoder_states"][1:] for m in (pre, other))
    n = other.encoder.layers.connection.settings["streams"]
    for state, total in zip(states, sums, strict=True):
        assert torch.allclose(total, n * state, rtol=1e-4, atol=1e-4)
    own, h = randomised("hyper"), values(5, 2, 4, 16)
    assert torch.allclose(own.output(Streams(h)), h[..., 0, :] + h[..., 1, :] + h[..., 2, :] + h[..., 3, :], atol=1e-6)


def test_the_first_weights_of_hyper():
    """Sub-layer k reads stream k mod n; each stream stays what it is, and F is added to every one."""
    for k, mixing in enumerate(connection("hyper", width=8).mixing):
        read, keep, write = (weights[0, 0] for weights in mixing(values(1, 1, 4, 8)))
        assert read.tolist() == [[float(s == k % 4) for s in range(4)]]
        assert torch.equal(keep, torch.eye(4)) and torch.equal(write, torch.ones(4, 1))
        assert mixing.scale.tolist() == pytest.approx([0.01, 0.01]) and not mixing.weight.any()
    assert k == 5


@pytest.mark.parametrize(("name", "options"), [*OPTIONS, ("mhc", "sinkhorn=true")])
def test_streams_part_after_the_first_update(name, options):
    """Streams that are alike in all that is learned would stay copies of each other."""
    own = connection(name, options)
    norm, x, linear = (torch.nn.LayerNorm(16),), values(5, 2, 16), torch.nn.Linear(16, 16)

    def streams():
        stream = own.open(x)
        for k in range(6):
            stream = own.sublayer(stream, 1 + k // 2, k % 2, linear, norm)
        return stream.h

    h = streams()
    assert torch.allclose(h, h[..., :1, :].expand_as(h), atol=1e-5)
    optimizer = torch.optim.SGD(own.parameters(), lr=0.1)
    (h.sum(-2) * values(5, 2, 16)).sum().backward()
    optimizer.step()
    h = streams()
    assert all((h[..., s, :] - h[..., t, :]).abs().max() > 1e-3 for s in range(h.size(-2)) for t in range(s))


@pytest.mark.parametrize(
    ("logits", "diagonal"),
    [
        ([[1.0, 0.0], [0.0, 0.0]], [0.62246, 0.62246]),
        ([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [0.65846, 0.55279, 0.48049]),
    ],
)
def test_sinkhorn(logits, diagonal):
    matrix = sinkhorn(torch.tensor(logits))
    assert matrix.diagonal().tolist() == pytest.approx(diagonal, abs=1e-5)
    assert torch.allclose(matrix.sum(0), torch.ones(len(matrix)), atol=1e-6)
    assert torch.allclose(matrix.sum(1), torch.ones(len(matrix)), atol=1e-6)
    if len(matrix) == 2:
        assert matrix[0, 1].item() == pytest.approx(0.37754, abs=1e-5)


def test_sinkhorn_of_many_matrices():
    matrices = sinkhorn(values(5, 2, 4, 4))
    assert matrices.min() > 0 and matrices.std() > 0.1
    assert torch.allclose(matrices.sum(-1), torch.ones(5, 2, 4), atol=1e-6)
    assert torch.allclose(matrices.sum(-2), torch.ones(5, 2, 4), atol=1e-5)


def test_sinkhorn_takes_large_numbers():
    assert torch.allclose(sinkhorn(torch.tensor([[200.0, 100.0], [100.0, 200.0]])), torch.eye(2))


@pytest.mark.parametrize("logits", [[[200.0, 0.0], [200.0, 0.0]], [[200.0, 200.0], [0.0, 0.0]]])
def test_sinkhorn_takes_numbers_that_are_far_apart(logits):
    """In float32 exp(-200) is 0, and a row or a column of zeros has no share of 1."""
    logits = torch.tensor(logits, requires_grad=True)
    matrix = sinkhorn(logits)
    assert torch.allclose(matrix, torch.full((2, 2), 0.5))
    matrix[0, 0].backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("options", ["", "streams=3", "streams=2", "sinkhorn=true", "streams=6,sinkhorn=true"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_forms_of_mhc(options, dtype):
    own = randomised("mhc", options).to(dtype)
    n = own.streams
    h = values(5, 2, n, 16).to(dtype)
    for mixing in own.mixing:
        pre, res, post = mixing(h)
        assert (pre.shape, res.shape, post.shape) == ((5, 2, 1, n), (5, 2, n, n), (5, 2, n, 1))
        assert pre.min() >= 0 and pre.max() <= 1 and post.min() >= 0 and 1 < post.max() <= 2
        assert (pre.sum(-1) - 1).abs().max() > 0.01 and (post.sum(-2) - 1).abs().max() > 0.1  # a softmax's would be 1
        assert res.dtype == torch.float32 and res.min() >= 0
        assert torch.allclose(res.sum(-1), torch.ones(5, 2, n), atol=1e-6)
        if mixing.matrices is not None:  # Sinkhorn's iterations end with the rows; 20 can be too few for the columns
            assert torch.allclose(res.sum(-2), torch.ones(5, 2, n), atol=1e-6)


@pytest.mark.parametrize("options", ["", "sinkhorn=true"])
def test_the_first_matrices_of_mhc(options):
    for k, mixing in enumerate(connection("mhc", options, width=8).mixing):
        pre, res, post = (weights[0, 0] for weights in mixing(values(1, 1, 4, 8)))
        expected = [0.731059 if s == k % 4 else 0.268941 for s in range(4)]
        assert pre[0].tolist() == pytest.approx(expected, abs=1e-6)
        assert post[:, 0].tolist() == [1.0] * 4
        e = 0.000335463  # exp(-8); of the 23 other permutations 5 leave a given stream where it is
        kept = 1 / (1 + 3 * e) if options else (1 + 5 * e) / (1 + 23 * e)
        assert res.diagonal().tolist() == pytest.approx([kept] * 4, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("hyper", "streams=0", "streams=0 must be at least 1"),
        ("mhc", "streams=-1", "streams=-1 must be at least 1"),
        ("mhc", "streams=5", "streams=5 has 5! permutations: use at most 4, or sinkhorn=true"),
        ("attn_res", "blocks=0", "blocks=0 must be at least 1"),
    ],
)
def test_impossible_numbers_are_refused(name, options, reason):
    with pytest.raises(UserError, match=f"^--connection-options: {reason}$"):
        build_connection(name, connection_options=options)


def sources(count: int) -> BlockStream:
    v = values(5, 2, count, 16)
    return BlockStream(v[..., :-1, :], running=v[..., -1, :])


def test_attn_res_starts_as_the_mean_of_its_sources():
    own = connection("attn_res")
    assert len(own.attention) == 6
    for count in (2, 3, 5):
        stream = sources(count)
        mean = values(5, 2, count, 16).mean(-2)
        assert all(torch.allclose(attention(stream), mean, atol=1e-6) for attention in own.attention)


def test_equal_sources_come_out_as_they_are():
    x = values(5, 2, 1, 16)
    stream = BlockStream(x.expand(-1, -1, 3, -1), running=x[..., 0, :])
    for attention in randomised("attn_res").attention:
        assert torch.allclose(attention(stream), x[..., 0, :], atol=1e-6)


def test_the_weights_of_attn_res():
    """A softmax over all sources; a key's length is not in it, a value's is."""
    attention, stream, v = randomised("attn_res").attention[2], sources(4), values(5, 2, 4, 16)
    query = attention.query * attention.gain
    cosines = torch.nn.functional.cosine_similarity(v, query.expand_as(v), dim=-1)
    weights = (cosines * query.norm() * 16**0.5).softmax(-1)
    assert torch.allclose(weights.sum(-1), torch.ones(5, 2)) and weights.std() > 0.1
    assert torch.allclose(attention(stream), (weights.unsqueeze(-1) * v).sum(-2), atol=1e-4)
    longer = BlockStream(10 * stream.blocks, 10 * stream.running)
    assert torch.allclose(attention(longer), 10 * attention(stream), atol=1e-3)


@pytest.mark.parametrize(
    ("depth", "blocks", "expected"),
    [
        (18, 8, [3, 2, 2, 2, 3, 2, 2, 2]),
        (6, 8, [1] * 6),
        (8, 8, [1] * 8),
        (12, 3, [4, 4, 4]),
        (7, 1, [7]),
        (100, 8, [13, 12, 13, 12, 13, 12, 13, 12]),
    ],
)
def test_block_boundaries(depth, blocks, expected):
    own = connection("attn_res", f"blocks={blocks}", depth, width=4)
    found = [own.block_of(l) for l in range(1, depth + 1)]
    assert found == sorted(found)
    assert [found.count(block) for block in range(len(expected))] == expected


def test_what_the_sources_are():
    """The embedding once, then the sum of each block's branches."""
    own = connection("attn_res", "blocks=2", depth=5, width=4)
    x, norm = values(3, 2, 4), (torch.nn.Identity(),)
    stream, branches = own.open(x), []
    for l in range(1, 6):
        stream = own.enter_layer(stream, l)
        for j in range(2):
            branches.append(values(3, 2, 4) * (l + 10 * j))
            stream = own.sublayer(stream, l, j, lambda _: branches[-1], norm)
        stream = own.leave_layer(stream, l)
        assert torch.allclose(own.output(stream), x + sum(branches), rtol=1e-5, atol=1e-5)
    assert stream.blocks.shape == (3, 2, 2, 4)
    assert torch.equal(stream.blocks[..., 0, :], x)
    assert torch.allclose(stream.blocks[..., 1, :], sum(branches[:6]), rtol=1e-5)
    assert torch.allclose(stream.running, sum(branches[6:]), rtol=1e-5)


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_attn_res_refuses_layerdrop(side):
    with pytest.raises(UserError, match=f"--{side}-layerdrop 0.1: connection 'attn_res' needs every layer"):
        build_connection("attn_res", **{f"{side}_layerdrop": 0.1})
