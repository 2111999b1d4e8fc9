"""Decoding with fairseq's own generator: stock fairseq's model and ours give the same hypotheses."""

import pytest
import torch
from builders import (
    EOS,
    PAD,
    build,
    build_connection,
    build_language_model,
    build_speech,
    dictionary,
    randomise,
    speech,
)
from fairseq import search
from fairseq.sequence_generator import SequenceGenerator
from omegaconf import OmegaConf

from b2t_fairseq import native
from b2t_fairseq.layers.cache import DecodingCache
from b2t_fairseq.layers.packed import FEWEST_ROWS, IS_AVAILABLE
from b2t_fairseq.models.encoder_out import ReorderedEncoderOut

WORDS = dictionary()
pytestmark = pytest.mark.usefixtures("kernels")


def source(sentences: int = 9, longest: int = 11, seed: int = 4) -> dict:
    """A left-padded batch, as fairseq makes it."""
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, 50, (sentences, longest), generator=random)
    tokens[:, -1] = EOS
    lengths = torch.randint(3, longest + 1, (sentences,), generator=random)
    tokens[torch.arange(longest)[None] < longest - lengths[:, None]] = PAD
    return {"net_input": {"src_tokens": tokens, "src_lengths": lengths}}


def lively(model):
    """Away from the initialisation, where it would only repeat a word, and with an end in sight."""
    random = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "embed" in name or "output_projection" in name:
                p.copy_(torch.randn(p.shape, generator=random) * (p.size(-1) ** -0.5))
        model.decoder.output_projection.weight.mul_(4)[EOS].mul_(3)
    return model


def pair(seed: int = 1):
    stock = lively(randomise(build("transformer", seed=seed, share_decoder_input_output_embed=False)))
    for layer in stock.encoder.layers:
        layer.can_use_fastpath = False  # fairseq 0.12.2's inference path fails on a recent torch
    ours = build_connection("post", share_decoder_input_output_embed=False)
    ours.load_state_dict(stock.state_dict())
    return stock, ours


def hypotheses(models, sample, beam: int, make_search=None, prefix=None, constraints=None, seed: int = 5, **options):
    """Tokens and scores of every hypothesis of every sentence."""
    for model in models:
        model.eval(), model.make_generation_fast_()
    strategy = make_search(WORDS) if make_search else None
    generator = SequenceGenerator(models, WORDS, beam, max_len_b=20, search_strategy=strategy, **options)
    torch.manual_seed(seed)
    with torch.no_grad():
        found = generator.generate(models, sample, prefix_tokens=prefix, constraints=constraints)
    return [[(h["tokens"].tolist(), float(h["score"])) for h in sentence] for sentence in found]


def assert_same(first, second):
    assert [[tokens for tokens, _ in s] for s in first] == [[tokens for tokens, _ in s] for s in second]
    scores = zip(*[[score for s in found for _, score in s] for found in (first, second)], strict=True)
    assert all(abs(a - b) <= 2e-5 for a, b in scores)


PREFIX = torch.tensor([[7, 8, PAD]] * 4 + [[9, 10, 11]] * 5)
SETTINGS = {
    "greedy": {"beam": 1},
    "beam": {"beam": 4},
    "wide beam": {"beam": 20},
    "n-gram blocking": {"beam": 3, "no_repeat_ngram_size": 2},
    "length limits": {"beam": 3, "min_len": 4, "len_penalty": 0.6, "max_len_a": 0.5},
    "prefix": {"beam": 3, "prefix": PREFIX},
    "sampling": {"beam": 3, "make_search": lambda words: search.Sampling(words, sampling_topk=5)},
    "diverse beam": {
        "beam": 4,
        "make_search": lambda words: search.DiverseBeamSearch(words, num_groups=2, diversity_strength=0.5),
    },
    "diverse siblings": {
        "beam": 3,
        "make_search": lambda words: search.DiverseSiblingsSearch(words, diversity_rate=0.5),
    },
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_hypotheses_are_those_of_stock_fairseq(setting):
    stock, ours = pair()
    found = hypotheses([stock], source(), **SETTINGS[setting])
    assert len({len(sentence[0][0]) for sentence in found}) > 1 or setting == "length limits"
    assert_same(hypotheses([ours], source(), **SETTINGS[setting]), found)


def test_lexical_constraints():
    from fairseq.token_generation_constraints import pack_constraints

    stock, ours = pair()
    constraints = pack_constraints([[torch.tensor([5, 6])]] * 9)
    settings = {"beam": 4, "constraints": constraints}
    settings["make_search"] = lambda words: search.LexicallyConstrainedBeamSearch(words, "ordered")
    found = hypotheses([stock], source(), **settings)
    assert all(5 in sentence[0][0] for sentence in found)
    assert_same(hypotheses([ours], source(), **settings), found)


def test_ensembles_also_with_stock_models():
    (stock, ours), (other_stock, other_ours) = pair(), pair(seed=2)
    expected = hypotheses([stock, other_stock], source(), beam=4)
    assert_same(hypotheses([ours, other_ours], source(), beam=4), expected)
    assert_same(hypotheses([ours, other_stock], source(), beam=4), expected)


def test_one_model_serves_generators_of_any_beam():
    stock, ours = pair()
    for beam in (4, 1, 3):
        assert_same(hypotheses([ours], source(8), beam=beam), hypotheses([stock], source(8), beam=beam))


def test_attention_to_the_source_is_the_same():
    found = []
    for model in pair():
        model.eval()
        generator = SequenceGenerator([model], WORDS, 3, max_len_b=20)
        with torch.no_grad():
            found.append([h["attention"] for s in generator.generate([model], source()) for h in s])
    assert len(found[0]) == 27
    for mine, theirs in zip(*found, strict=True):
        assert mine.shape == theirs.shape and (mine - theirs).abs().max() <= 1e-5


@pytest.mark.parametrize("beam", [1, 4])
def test_a_language_model_continues_a_text(beam):
    """Against the same model without caches, which fairseq uses for models that cannot decode step by step."""
    model = lively(
        randomise(
            build_language_model(
                "transformer_lm_b2t",
                adaptive_input=False,
                adaptive_softmax_cutoff=None,
                tie_adaptive_weights=False,
                tie_adaptive_proj=False,
            )
        )
    )
    text = source(8, 6)["net_input"]["src_tokens"].clamp(min=4)
    sample = {"net_input": {"src_tokens": text, "src_lengths": torch.full((8,), 6)}}
    cached = hypotheses([model], sample, beam, prefix=text)
    generator_model = SequenceGenerator([model], WORDS, beam, max_len_b=20)
    generator_model.model.has_incremental = False
    with torch.no_grad():
        found = generator_model.generate([model], sample, prefix_tokens=text)
    assert_same(cached, [[(h["tokens"].tolist(), float(h["score"])) for h in sentence] for sentence in found])


def test_speech_is_decoded_as_without_caches():
    model = lively(randomise(build_speech("s2t_transformer_b2t_6_6", share_decoder_input_output_embed=False)))
    features, lengths = speech()
    sample = {"net_input": {"src_tokens": features, "src_lengths": lengths}}
    cached = hypotheses([model], sample, beam=4)
    generator = SequenceGenerator([model], WORDS, 4, max_len_b=20)
    generator.model.has_incremental = False
    with torch.no_grad():
        found = generator.generate([model], sample)
    assert_same(cached, [[(h["tokens"].tolist(), float(h["score"])) for h in sentence] for sentence in found])


def test_keys_are_written_once_a_step_and_a_sentence():
    """What the speed rests on: nothing is copied to follow the beam, and the source is held once a sentence."""
    _, ours = pair()
    ours.eval(), ours.make_generation_fast_()
    seen = []
    reorder = DecodingCache.reorder

    def watched(cache, order):
        before = cache.written.data_ptr()
        reorder(cache, order)
        seen.append((cache.sentences, cache.beam, cache.sources[1].size(1)))
        assert before == cache.written.data_ptr()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DecodingCache, "reorder", watched)
        hypotheses([ours], source(), beam=4)
    assert seen[0] == (9, 4, 9)
    assert seen[-1][0] < 9  # finished sentences have left


@pytest.mark.parametrize("orders", [
    [[0, 0, 1, 3, 2, 2], [1, 0, 2, 3, 5, 5]],  # within sentences of two rows
    [[0, 0, 4, 5], [1, 0, 2, 2], [2, 3]],  # and without the middle one, then without the first
    [[5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5]],  # the sentences turned around
    [[2, 3, 2, 3, 0, 0], [5, 4, 3, 2, 1, 1]],  # a sentence twice
    [[0, 2, 4, 1, 3, 5], [5, 5, 5, 0]],  # across sentences: the general form
    [[0, 1, 2], [2, 0]],  # an odd number of rows
], ids=str)  # fmt: skip
def test_any_order_gives_what_recomputing_gives(orders):
    model = randomise(build_connection("b2t")).eval()
    encoded = model.encoder(source(3)["net_input"]["src_tokens"])
    encoded = model.encoder.reorder_encoder_out(encoded, torch.arange(3).repeat_interleave(2))
    random, state = torch.Generator().manual_seed(0), {}
    tokens = torch.full((6, 1), EOS)
    with torch.no_grad():
        for order in [*orders, None]:
            for _ in range(2):
                step, _ = model.decoder(tokens, encoder_out=encoded, incremental_state=state)
                full, _ = model.decoder(tokens, encoder_out=encoded)
                assert (step[:, 0] - full[:, -1]).abs().max() <= 1e-5
                new = torch.randint(4, 50, (len(tokens), 1), generator=random)
                tokens = torch.cat([tokens, new], 1)
            if order is not None:
                order = torch.tensor(order)
                tokens = tokens[order]
                model.decoder.reorder_incremental_state_scripting(state, order)
                encoded = model.encoder.reorder_encoder_out(encoded, order)


@pytest.mark.parametrize("padding", [False, True])
def test_keys_without_descendants_are_squeezed_out(padding, monkeypatch):
    """Hypotheses of a beam that share all but their last words keep few keys; what they attend to stays the same."""
    model = randomise(build_connection("b2t")).eval()

    @torch.no_grad()
    def decode():
        encoded = model.encoder(source(3)["net_input"]["src_tokens"])
        encoded = model.encoder.reorder_encoder_out(encoded, torch.arange(3).repeat_interleave(4))
        random, state, tokens, steps = torch.Generator().manual_seed(0), {}, torch.full((12, 1), EOS), []
        for i in range(40):
            steps.append(model.decoder(tokens, encoder_out=encoded, incremental_state=state)[0])
            sentences = torch.tensor([2, 0]) if i == 20 else torch.arange(len(tokens) // 4)
            parents = torch.randint(0, 4, (len(sentences), 4), generator=random)
            order = (4 * sentences.unsqueeze(1) + parents).flatten()
            new = torch.randint(4, 50, (len(order), 1), generator=random)
            if padding and i % 7 == 3:
                new[2] = PAD
            tokens = torch.cat([tokens[order], new], 1)
            model.decoder.reorder_incremental_state_scripting(state, order)
        (cache,) = (c for c in state.values() if isinstance(c, DecodingCache))
        return cache, steps

    cache, squeezed = decode()
    assert cache.length == 40 and 40 <= cache.used < 80
    assert cache.written.size(4) == 128  # nothing had to grow
    monkeypatch.setattr(DecodingCache, "squeeze", lambda cache, ancestors: None)
    cache, kept = decode()
    assert cache.used == 160
    for a, b in zip(squeezed, kept, strict=True):
        assert (a - b).abs().max() <= 1e-5


def test_padding_among_the_tokens_is_hidden_as_in_stock_fairseq():
    stock, ours = pair()
    tokens = torch.randint(4, 50, (3, 7), generator=torch.Generator().manual_seed(0))
    tokens[1, 2:4] = tokens[2, 4] = PAD
    found = []
    for model in (stock.eval(), ours.eval()):
        state, encoded = {}, model.encoder(source(3)["net_input"]["src_tokens"], None)
        with torch.no_grad():
            steps = [model.decoder(tokens[:, : i + 1], encoded, incremental_state=state)[0] for i in range(7)]
        found.append(torch.cat(steps, 1)[tokens.ne(PAD)])
    assert (found[0] - found[1]).abs().max() <= 1e-5


def test_buffers_grow_with_the_sentence():
    model = randomise(build_connection("post")).eval()
    encoded = model.encoder(source(2)["net_input"]["src_tokens"])
    tokens, state = torch.randint(4, 50, (2, 70), generator=torch.Generator().manual_seed(0)), {}
    with torch.no_grad():
        full, _ = model.decoder(tokens, encoder_out=encoded)
        for i in range(70):
            step, _ = model.decoder(tokens[:, : i + 1], encoder_out=encoded, incremental_state=state)
            assert (step[:, 0] - full[:, i]).abs().max() <= 1e-5


def test_the_reordered_encoder_output_is_a_mapping_with_what_stock_gives():
    stock, ours = pair()
    tokens, order = source()["net_input"]["src_tokens"], torch.tensor([3, 3, 0])
    theirs = stock.encoder.reorder_encoder_out(stock.encoder(tokens), order)
    mine = ours.encoder.reorder_encoder_out(ours.encoder(tokens), order)
    assert isinstance(mine, ReorderedEncoderOut) and set(mine) == set(theirs) and len(mine) == len(theirs)
    for name in ("encoder_out", "encoder_padding_mask", "encoder_embedding", "src_lengths"):
        assert (mine[name][0].float() - theirs[name][0].float()).abs().max() <= 1e-5, name
    again = ours.encoder.reorder_encoder_out(mine, torch.tensor([2, 0]))
    assert torch.equal(again["encoder_out"][0], mine["encoder_out"][0][:, [2, 0]])


@pytest.mark.parametrize("build_model", [build_connection, build_language_model, build_speech], ids=["mt", "lm", "asr"])
@pytest.mark.parametrize("bf16", [True, False])
def test_bf16_is_for_commands(build_model, bf16):
    """In a checkpoint's own configuration `bf16` says how it was trained, which changes nothing later."""
    for path in ("checkpoint.pt", None):
        model = build_model("b2t") if build_model is build_connection else build_model()
        model.prepare_for_inference_(
            OmegaConf.create({"common": {"bf16": bf16}, "common_eval": {"path": path}, "generation": {}})
        )
        is_bf16 = {p.dtype for p in model.parameters()} == {torch.bfloat16}
        assert is_bf16 == (bf16 and path is not None)


def test_bf16_hypotheses_are_nearly_those_of_fp32():
    model = lively(randomise(build_speech("s2t_transformer_b2t_6_6", share_decoder_input_output_embed=False)))
    features, lengths = speech()
    sample = {"net_input": {"src_tokens": features, "src_lengths": lengths}}
    exact = hypotheses([model], sample, beam=4)
    rounded = hypotheses([model.to(torch.bfloat16)], sample, beam=4)
    differences = [abs(a[0][1] - b[0][1]) for a, b in zip(exact, rounded, strict=True)]
    assert sum(d < 0.05 for d in differences) >= 4 and max(differences) < 1  # in one sentence the beam took another way


def test_decoding_uses_the_kernels(kernels, monkeypatch):
    """They are tested by the hypotheses, which would be the same without."""
    calls = set()
    for name in ("attend_to_ancestors", "attend_to_source", "linear", "FewRows"):
        real = getattr(native, name)
        monkeypatch.setattr(native, name, lambda *a, name=name, real=real: calls.add(name) or real(*a))
    attention = {"attend_to_ancestors", "attend_to_source"}
    hypotheses([pair()[1]], source(), beam=4)  # 36 rows
    assert calls == ((attention | {"linear"} if native.has_linear() else attention) if kernels else set())
    calls.clear()
    hypotheses([pair()[1]], source(), beam=3)  # 27 rows
    assert calls == (attention | {"FewRows"} if kernels else set())


@pytest.mark.parametrize("rows", [4, 64])
def test_decoding_copies_weights_only_where_it_pays(rows):
    """A single sentence reads the layers' own weights; packing them would cost more than its whole decoding saves."""
    _, ours = pair()
    layer = ours.decoder.layers[0]
    double = torch.nn.Linear(4, 4, dtype=torch.float64)
    assert DecodingCache(rows).linear(double) is double  # nothing is faster
    linear = DecodingCache(rows).linear(layer.fc1)
    if rows < FEWEST_ROWS and native.kernels() is not None:
        assert isinstance(linear, native.FewRows) and linear.weights[0].data_ptr() == layer.fc1.weight.data_ptr()
    else:
        assert (linear is layer.fc1) == (rows < FEWEST_ROWS or not IS_AVAILABLE)
    x = torch.randn(1, rows, 32)
    with torch.no_grad():
        assert (linear(x) - layer.fc1(x)).abs().max() <= 1e-5
        projections = (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)
        fused, expected = DecodingCache(rows).linear(*projections)(x), torch.cat([p(x) for p in projections], -1)
        assert (fused - expected).abs().max() <= 1e-5
