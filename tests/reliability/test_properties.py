"""Properties of every connection on sizes, lengths and batches that nobody chose: drawn by hypothesis."""

import os

import pytest
import torch
from builders import ALL_CONNECTIONS, EOS, PAD, build_connection, randomise
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as draw

#: B2T_EXAMPLES=200 for a long run (scripts/attack.sh)
EXAMPLES = int(os.environ.get("B2T_EXAMPLES", "3"))
BOUNDED = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES < 10, suppress_health_check=list(HealthCheck)
)
pytestmark = pytest.mark.parametrize("connection", ALL_CONNECTIONS)
WORDS = 46
TOLERANCE = 2e-5

depths = draw.tuples(draw.integers(1, 4), draw.integers(1, 4))
shapes = draw.sampled_from([(16, 2), (32, 2), (32, 4), (48, 3)])  # width and heads
lengths = draw.lists(draw.tuples(draw.integers(1, 9), draw.integers(1, 9)), min_size=1, max_size=5)
seeds = draw.integers(0, 2**31 - 1)


def model_of(connection: str, depth: tuple[int, int], shape: tuple[int, int], seed: int):
    """A model with random parameters, gains and biases too."""
    sizes = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in
             (("embed_dim", shape[0]), ("attention_heads", shape[1]))}  # fmt: skip
    model = build_connection(connection, seed=seed, encoder_layers=depth[0], decoder_layers=depth[1], **sizes)
    return randomise(model).eval()


def sentences(sizes: list[tuple[int, int]], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sources, padded on the left, and shifted targets, padded on the right, as fairseq's batches are."""
    generator = torch.Generator().manual_seed(seed)

    def words(count: int) -> torch.Tensor:
        return torch.randint(4, 4 + WORDS, (count,), generator=generator)

    end = torch.tensor([EOS])
    sources = [torch.cat([words(n), end]) for n, _ in sizes]
    targets = [torch.cat([end, words(m)]) for _, m in sizes]
    longest = max(map(len, sources))
    source = torch.stack([torch.nn.functional.pad(s, (longest - len(s), 0), value=PAD) for s in sources])
    target = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=PAD)
    return source, target


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / one.abs().max().clamp(min=1))


@BOUNDED
@given(depth=depths, shape=shapes, sizes=lengths, seed=seeds)
@torch.no_grad()
def test_a_sentence_does_not_depend_on_its_batch(connection, depth, shape, sizes, seed):
    model = model_of(connection, depth, shape, seed)
    source, target = sentences(sizes, seed)
    together = model(source, None, target)[0]
    for number, (n, m) in enumerate(sizes):
        alone = model(source[number : number + 1, -n - 1 :], None, target[number : number + 1, : m + 1])[0]
        assert difference(alone[0], together[number, : m + 1]) < TOLERANCE


@BOUNDED
@given(depth=depths, shape=shapes, sizes=lengths, seed=seeds, place=draw.integers(1, 9))
@torch.no_grad()
def test_the_future_is_hidden(connection, depth, shape, sizes, seed, place):
    model = model_of(connection, depth, shape, seed)
    source, target = sentences(sizes, seed)
    place = min(place, target.size(1) - 1)
    changed = target.clone()
    changed[:, place:] = 4 + (changed[:, place:] - 3) % WORDS
    before, after = (model(source, None, tokens)[0] for tokens in (target, changed))
    assert difference(before[:, :place], after[:, :place]) == 0


@BOUNDED
@given(depth=depths, shape=shapes, sizes=lengths, seed=seeds)
@torch.no_grad()
def test_incremental_is_full(connection, depth, shape, sizes, seed):
    model = model_of(connection, depth, shape, seed)
    source, target = sentences(sizes, seed)
    encoded, state = model.encoder(source), {}
    full = model.decoder(target, encoder_out=encoded)[0]
    steps = [
        model.decoder(target[:, : step + 1], encoder_out=encoded, incremental_state=state)[0]
        for step in range(target.size(1))
    ]
    real = target.ne(PAD)
    assert difference(full[real], torch.cat(steps, 1)[real]) < TOLERANCE


@BOUNDED
@given(depth=depths, shape=shapes, sizes=lengths, seed=seeds, order=draw.randoms(use_true_random=False))
@torch.no_grad()
def test_the_order_of_a_batch_does_not_matter(connection, depth, shape, sizes, seed, order):
    model = model_of(connection, depth, shape, seed)
    source, target = sentences(sizes, seed)
    rows = list(range(len(sizes)))
    order.shuffle(rows)
    assert difference(model(source, None, target)[0][rows], model(source[rows], None, target[rows])[0]) < TOLERANCE
