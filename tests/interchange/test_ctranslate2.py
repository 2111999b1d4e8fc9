"""Exports to CTranslate2: the same function, alone, for each connection that folds; one line for the others."""

from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from builders import ALL_CONNECTIONS, randomise
from end_to_end import NARROW, TRAINING, inside, make_data
from fairseq import tasks
from fairseq.models import ARCH_CONFIG_REGISTRY, build_model

from b2t_fairseq import UserError
from b2t_fairseq.evaluation.text import read_lines
from b2t_fairseq.interchange.outgoing import ctranslate, folding
from b2t_fairseq.interchange.places import Places
from b2t_fairseq.interchange.trained import Trained, load

ctranslate2 = pytest.importorskip("ctranslate2", reason="the extra [export] is not installed")

EXACT = {
    **{name: {} for name in ("post", "pre", "deepnet", "admin", "ln_scaling", "complete_p")},
    "complete_p, m = 3": {"connection": "complete_p", "connection_options": "base_layers=1,alpha=0.5"},
    "post, shared layers": {"connection": "post", "share_layers": "cycle", "unique_layers": 1},
    "deepnet, norm of the embedding": {"connection": "deepnet", "layernorm_embedding": True},
    "admin, learned positions": {"connection": "admin", "encoder_learned_pos": True, "decoder_learned_pos": True},
    "pre, gelu": {"connection": "pre", "activation_fn": "gelu"},
    "post, gelu_fast": {"connection": "post", "activation_fn": "gelu_fast"},
    "pre, no norm after the decoder": {"connection": "pre", "no_decoder_final_norm": True},
    "post, no scale": {"connection": "deepnet", "no_scale_embedding": True},
    "post, warm-up over": {"connection": "post", "branch_warmup": 4},
    "post, tied": {"connection": "post", "share_all_embeddings": True},
}
REFUSED = {
    **{name: {} for name in ALL_CONNECTIONS if name not in EXACT},
    "post, gates": {"connection": "post", "connection_options": "gpas=true"},
    "pre, rms": {"connection": "pre", "norm": "rms"},
    "pre, dyt": {"connection": "pre", "norm": "dyt"},
    "post, tanh": {"connection": "post", "activation_fn": "tanh"},
    "post, no positions": {"connection": "post", "no_token_positional_embeddings": True},
    "post, projections": {"connection": "post", "decoder_output_dim": 24},
    "post, adaptive": {"connection": "post", "adaptive_softmax_cutoff": "20,40"},
}
SAID = {"b2t": "its feed-forward layer adds the layer's own input", "post, gates": "gates", "pre, rms": "--norm rms"}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    make_data(folder)
    return folder


@pytest.fixture(scope="module")
def task(text):
    return tasks.setup_task(Namespace(task="translation", data=str(text / "bin"), source_lang="en", target_lang="de"))


def built(task, **options) -> Trained:
    """A narrow model with random weights everywhere, 3 encoder and 2 decoder layers."""
    sizes = {"encoder_layers": 3, "decoder_layers": 2, "dropout": 0.0}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_embed_dim": 32, f"{side}_ffn_embed_dim": 48, f"{side}_attention_heads": 4}
    if options.get("unique_layers"):
        sizes |= {"decoder_layers": 3}
    args = Namespace(arch="transformer_b2t_6_6", **{**sizes, **options})
    ARCH_CONFIG_REGISTRY[args.arch](args)
    torch.manual_seed(3)
    model = randomise(build_model(args, task)).eval()
    hub = SimpleNamespace(task=task, models=[model])
    return Trained(Places("model.pt", None, "translation"), hub)


def options_of(cases: dict, case: str) -> dict:
    return {"connection": case.partition(",")[0], **cases[case]}


@pytest.mark.parametrize("case", EXACT)
def test_the_probabilities_are_the_models(case, task, tmp_path):
    """By CTranslate2 alone, of sentences that the exporter's own check has not seen."""
    model = built(task, **options_of(EXACT, case))
    written = ctranslate.write(model, tmp_path / "out")
    assert {"model.bin", "config.json", "b2t_fairseq.json"} <= set(written)
    words = task.source_dictionary.symbols
    sources, targets = [words[5:25], words[30:31], words[7:9]], [words[9:20], words[4:12], words[40:41]]
    translator = ctranslate2.Translator(str(tmp_path / "out"), compute_type="float32")
    for source, target, scored in zip(sources, targets, translator.score_batch(sources, targets), strict=True):
        encoded = [
            d.encode_line(" ".join(text), add_if_not_exist=False, append_eos=True).long()
            for d, text in ((task.source_dictionary, source), (task.target_dictionary, target))
        ]
        expected = model.scored(encoded[1], encoded[0])
        torch.testing.assert_close(torch.tensor(scored.log_probs), expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_exact_is_refused(case, task, tmp_path):
    with pytest.raises(UserError, match="CTranslate2 cannot run this model exactly: ") as refusal:
        ctranslate.write(built(task, **options_of(REFUSED, case)), tmp_path / "out")
    assert SAID.get(case, "") in str(refusal.value) and not list(tmp_path.iterdir())


def test_a_warm_up_that_is_not_over_is_refused(task, tmp_path):
    model = built(task, connection="post", branch_warmup=100)
    model.models[0].set_num_updates(20)
    with pytest.raises(UserError, match=r"branch warm-up is not over \(update 20\)"):
        ctranslate.write(model, tmp_path / "out")
    model.models[0].set_num_updates(400)
    ctranslate.write(model, tmp_path / "out")


def test_an_omega_near_zero_is_refused(task, tmp_path):
    model = built(task, connection="admin")
    model.models[0].encoder.layers.connection.omega[1].data[3] = 1e-9
    with pytest.raises(UserError, match="an omega of layer 1 is nearly 0"):
        ctranslate.write(model, tmp_path / "out")


def test_a_wrong_export_gets_no_name(task, tmp_path, monkeypatch):
    monkeypatch.setattr(ctranslate, "folded", lambda *_: folding.Folded(branch=1.01))
    with pytest.raises(UserError, match="other probabilities"):
        ctranslate.write(built(task, connection="post"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def run(text):
    """A Post-LN model after some updates, in a folder beside its data."""
    model = ["--connection", "post", "--criterion", "label_smoothed_cross_entropy"]
    inside("train", text / "bin", *NARROW, *model, *TRAINING, "--max-update", "30", "--save-dir", text / "run")
    return text / "run"


def test_the_command_and_equal_translations(run, text, tmp_path, here):
    said = here("export", run, tmp_path / "out", "--format", "ctranslate2")
    assert "connection:post" in said and "model.bin" in said
    sources = read_lines(text / "test.en")
    for beam in (1, 4):
        # with a length penalty the order would depend on P(end) at the first step, which CTranslate2 takes out earlier
        expected = load(run).translate(sources, beam=beam, lenpen=0)
        words = [line.split() for line in sources]
        lines = ctranslate.translate(tmp_path / "out", words, "float32", beam, length_penalty=0)
        assert [" ".join(line) for line in lines] == expected


def test_int8_prints_bleu_beside_float32s(run, text, tmp_path, here):
    said = here("export", run, tmp_path / "out", "--format", "ctranslate2", "--quantization", "int8")
    scores = [line for line in said.splitlines() if line.startswith("BLEU ")]
    assert [line.split(" | ")[1] for line in scores] == ["int8", "float32"]
    assert all("connection:post" in line and "nrefs:1" in line for line in scores)
    here("export", run, tmp_path / "full", "--format", "ctranslate2")
    small, large = ((tmp_path / name / "model.bin").stat().st_size for name in ("out", "full"))
    assert small < 0.7 * large
