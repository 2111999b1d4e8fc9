"""Language modelling and headlines, from text to scores, through the real command lines."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from builders import ALL_CONNECTIONS
from end_to_end import ROOT, environment, inside, make_data, ours
from fairseq.models.transformer_lm import TransformerLanguageModel

from b2t_fairseq.checkpoints.loading import load_checkpoint
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.corpora.embedded import english_german
from b2t_fairseq.evaluation.perplexity import corpus_perplexity, read_eval_lm
from b2t_fairseq.evaluation.rouge import corpus_rouge
from b2t_fairseq.evaluation.text import read_lines

NARROW_LM = [
    *("--arch", "transformer_lm_b2t_6", "--decoder-layers", "2", "--decoder-attention-heads", "2"),
    *("--decoder-embed-dim", "16", "--decoder-input-dim", "16", "--decoder-output-dim", "16"),
    *("--decoder-ffn-embed-dim", "24", "--adaptive-input-cutoff", "20,50", "--adaptive-softmax-cutoff", "20,50"),
    *("--task", "language_modeling", "--criterion", "adaptive_loss", "--ddp-backend", "legacy_ddp"),
    *("--tokens-per-sample", "24", "--max-tokens", "240"),
]
NARROW_PAIRS = [
    *("--arch", "transformer_b2t_6_6_tiny", "--encoder-layers", "1", "--decoder-layers", "1"),
    *("--share-all-embeddings", "--criterion", "label_smoothed_cross_entropy", "--max-tokens", "400"),
    *("-s", "article", "-t", "title"),
]
TRAINING = [
    *("--optimizer", "adam", "--lr", "0.003", "--cpu", "--seed", "3", "--num-workers", "0"),
    *("--log-format", "json", "--log-interval", "1", "--no-epoch-checkpoints"),
]
HEADLINES = ["--beam", "5", "--max-len-a", "0", "--max-len-b", "12", "--min-len", "2", "--no-repeat-ngram-size", "3"]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """WikiText's layout, with empty lines."""
    folder = tmp_path_factory.mktemp("text")
    for split, pairs in english_german.generate({"train": 150, "valid": 12, "test": 17}, seed=4).items():
        write(folder / f"wiki.{split}.tokens", [line for english, _ in pairs for line in (english, "")])
    return folder


@pytest.fixture(scope="module")
def words(text, tmp_path_factory):
    """The same, binarised."""
    folder = tmp_path_factory.mktemp("words") / "bin"
    prefixes = [f"--{split}pref={text}/wiki.{split}.tokens" for split in ("train", "valid", "test")]
    inside("preprocess", "--only-source", *prefixes, "--thresholdsrc", "2", "--destdir", folder)
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of texts and headlines: the headline says again who does what."""
    pairs = [
        pair
        for split in english_german.generate({"train": 90, "valid": 8, "test": 9}, seed=6).values()
        for pair in split
    ]
    lines = [f"News of today : {english} This is all that is known .\t{english}" for english, _ in dict(pairs).items()]
    return write(tmp_path_factory.mktemp("table") / "news.tsv", lines)


@pytest.fixture(scope="module")
def headlines(table, tmp_path_factory):
    """The same, as sentence pieces and binarised, and a model of two updates."""
    from b2t_fairseq.corpora import headlines
    from b2t_fairseq.experiments import text_data

    folder = tmp_path_factory.mktemp("headlines") / "data"
    corpus = text_data.ParallelText("article", "title", headlines.load(table).splits)
    text_data.prepare(corpus, {"vocab_size": 120, "model_type": "bpe"}, folder, cut_source=40)
    prefixes = [f"--{split}pref={folder}/{split}.pieces" for split in ("train", "valid", "test")]
    inside("preprocess", "-s", "article", "-t", "title", *prefixes, "--joined-dictionary", "--destdir", folder / "bin")
    inside("train", folder / "bin", *NARROW_PAIRS, *TRAINING, "--max-update", "2", "--save-dir", folder)
    return folder


@pytest.mark.parametrize("connection", ALL_CONNECTIONS)
def test_every_connection_models_language_and_every_token_is_scored(connection, text, words, tmp_path, here):
    train = ["train", words, *NARROW_LM, *TRAINING, "--connection", connection, "--save-dir", tmp_path]
    log = here(*train, "--max-update", "1")
    assert f"signature: connection:{connection}" in log and "|layers:2|" in log
    evaluate = ["eval-lm", words, "--path", tmp_path / "checkpoint_last.pt", "--gen-subset", "test", "--cpu"]
    log = here(*evaluate, "--tokens-per-sample", "24", "--context-window", "16", "--max-tokens", "240")
    scores = corpus_perplexity(read_eval_lm(log.splitlines()), read_lines(text / "wiki.test.tokens"))
    assert 1 < scores["ppl"].score < scores["word ppl"].score < math.inf
    assert "|window:24|context:16" in scores["ppl"].signature


@pytest.fixture(scope="module")
def model(words, tmp_path_factory):
    """A plain softmax and no dropout, so that the loss can be computed by hand."""
    folder = tmp_path_factory.mktemp("model")
    plain = ["--arch", "transformer_lm_b2t_6_tiny", "--decoder-layers", "2", "--task", "language_modeling"]
    plain += ["--tokens-per-sample", "24", "--max-tokens", "240", "--dropout", "0", "--max-update", "3"]
    inside("train", words, *plain, *TRAINING, "--save-dir", folder)
    return folder


def test_perplexity_is_the_models_own(text, words, model, here):
    """Each word's probability after up to 24 words, by one call of the model for each window."""
    from fairseq.checkpoint_utils import load_model_ensemble_and_task

    path = str(model / "checkpoint_last.pt")
    log = here("eval-lm", words, "--path", path, "--gen-subset", "test", "--cpu", "--tokens-per-sample", "24")
    lines = read_lines(text / "wiki.test.tokens")
    score = corpus_perplexity(read_eval_lm(log.splitlines()), lines)["ppl"]
    (net,), _, task = load_model_ensemble_and_task([path], arg_overrides={"data": str(words)})
    dictionary, bits = task.source_dictionary, 0.0
    stream = [dictionary.eos()]
    for line in lines:
        stream += [*(dictionary.index(word) for word in line.split()), dictionary.eos()]
    net.eval()
    for start in range(0, len(stream) - 1, 24):
        window = torch.tensor(stream[start : start + 25])
        logits = net(window[None, :-1])[0][0].log_softmax(-1)
        bits -= logits.gather(1, window[1:, None]).sum().item() / math.log(2)
    assert score.score == pytest.approx(2 ** (bits / (len(stream) - 1)), rel=1e-3)


def test_a_part_of_the_text_has_no_perplexity(text, words, model, here):
    """With a line for each sample, eval-lm leaves out lines that are longer than the model, and goes on."""
    evaluate = ["eval-lm", words, "--path", model / "checkpoint_last.pt", "--gen-subset", "valid", "--cpu"]
    log = here(*evaluate, "--sample-break-mode", "eos", "--model-overrides", "{'max_target_positions': 6}")
    with pytest.raises(UserError, match=r"eval-lm scored \d+ tokens, but the text has"):
        corpus_perplexity(read_eval_lm(log.splitlines()), read_lines(text / "wiki.valid.tokens"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--tokens-per-sample", "24", "--context-window", "24"), "less --context-window is 0"),
        (("--tokens-per-sample", "24", "--context-window", "30"), "less --context-window is -6"),
        (("--tokens-per-sample", "512"), "--tokens-per-sample 512 does not fit the model, which has 24 positions"),
        ((), "--tokens-per-sample 1024 does not fit the model, which has 24 positions"),
        (("--sample-break-mode", "eos", "--model-overrides", "{'max_target_positions': 0}"), "nothing to score"),
    ],
)
def test_windows_that_leave_text_out_are_refused(options, reason, words, model, here):
    evaluate = ["eval-lm", words, "--path", model / "checkpoint_last.pt", "--gen-subset", "test", "--cpu"]
    printed = here(*evaluate, *options, status=2)
    assert reason in printed.splitlines()[-1] and "Perplexity" not in printed


def test_a_text_shorter_than_the_model_fits_any_window(words, model, here):
    """24 positions less than the window, but the text has fewer words still."""
    evaluate = ["eval-lm", words, "--path", model / "checkpoint_last.pt", "--gen-subset", "test", "--cpu"]
    log = here(*evaluate, "--tokens-per-sample", "4000", "--model-overrides", "{'max_target_positions': 3000}")
    assert "Perplexity" in log and "Evaluated 0 tokens" not in log


@pytest.mark.parametrize("larger", [False, True], ids=["as large", "larger"])
@pytest.mark.parametrize("arch", ["transformer_lm_b2t", "transformer_lm_b2t_6_tiny"])
def test_another_vocabulary_is_refused(arch, larger, words, tmp_path, here):
    sizes = ["--decoder-layers", "1", "--decoder-embed-dim", "16", "--decoder-attention-heads", "2"]
    sizes += ["--arch", arch, "--task", "language_modeling", "--tokens-per-sample", "24", "--max-tokens", "240"]
    options = [*sizes, *TRAINING, "--save-dir", tmp_path, "--max-update"]
    here("train", words, *options, "1")
    other = shutil.copytree(words, tmp_path / "other")
    lines = read_lines(words / "dict.txt")
    write(other / "dict.txt", [*lines[1:], lines[0], *["another 1"] * larger])
    path = ["--path", tmp_path / "checkpoint_last.pt", "--cpu"]
    for command in (
        ["eval-lm", other, *path, "--gen-subset", "test", "--tokens-per-sample", "24"],
        ["generate", other, *path, "--task", "language_modeling", "--sample-break-mode", "eos"],
        ["validate", other, *path, "--max-tokens", "240"],
        ["train", other, *options, "2"],
    ):
        printed = here(*command, status=2)
        assert "another vocabulary" in printed.splitlines()[-1] and "Perplexity" not in printed
    with pytest.raises(UserError, match="another vocabulary"):
        TransformerLanguageModel.from_pretrained(str(tmp_path), "checkpoint_last.pt", str(other))


def test_headlines_are_generated_and_scored(headlines, tmp_path, here, capsys):
    generate = [
        "generate",
        headlines / "bin",
        "--path",
        headlines / "checkpoint_last.pt",
        "--cpu",
        "--max-tokens",
        "900",
    ]
    output = here(*generate, *HEADLINES, "--post-process", "sentencepiece")
    (tmp_path / "out").write_text(output)
    files = ["rouge", "--hypotheses", tmp_path / "out", "--references", headlines / "test.title"]
    lines = here(*files, "--json", tmp_path / "json").splitlines()
    scores = json.loads((tmp_path / "json").read_text())["scores"]
    assert [line.split()[0] for line in lines] == ["ROUGE-1", "ROUGE-2", "ROUGE-L"] == list(scores)
    assert scores["ROUGE-1"]["counts"]["sentences"] == len(read_lines(headlines / "test.title"))
    hypotheses = [
        line.split("\t")[2]
        for line in sorted(
            (line for line in output.splitlines() if line.startswith("D-")),
            key=lambda line: int(line[2:].split("\t")[0]),
        )
    ]
    assert scores["ROUGE-L"]["score"] == corpus_rouge(hypotheses, read_lines(headlines / "test.title"))["ROUGE-L"].score


def test_interactive_headlines(headlines):
    raw = read_lines(headlines / "test.article")[:3]
    pieces = [
        f"--bpe=sentencepiece --sentencepiece-model={headlines}/subwords.model --post-process=sentencepiece".split()
    ]
    command = ["interactive", headlines / "bin", "--path", headlines / "checkpoint_last.pt", "--cpu", *HEADLINES]
    said = ours(*command, "-s", "article", "-t", "title", *pieces[0], input="\n".join(raw) + "\n").stdout
    found = [line.split("\t")[2] for line in said.splitlines() if line.startswith("D-")]
    assert len(found) == 3 and not any("▁" in line for line in found)


def test_from_pretrained(headlines, words, model, text, tmp_path):
    """Headlines, language model and translation, each by one call, as fairseq's users know it."""
    from fairseq.models.transformer import TransformerModel

    options = {"bpe": "sentencepiece", "sentencepiece_model": str(headlines / "subwords.model"), "cpu": True}
    hub = TransformerModel.from_pretrained(str(headlines), "checkpoint_last.pt", str(headlines / "bin"), **options)
    written = hub.translate(read_lines(headlines / "test.article")[:2], beam=3, max_len_a=0, max_len_b=12)
    assert len(written) == 2 and all(isinstance(line, str) and "▁" not in line for line in written)
    language_model = TransformerLanguageModel.from_pretrained(str(model), "checkpoint_last.pt", str(words))
    line = read_lines(text / "wiki.test.tokens")[0]
    probabilities = language_model.score(line)["positional_scores"]
    assert len(probabilities) == len(line.split()) and probabilities.isfinite().all()
    assert language_model.sample([line], beam=2, max_len_b=30)[0]
    data = make_data(tmp_path)
    translation = ["--arch", "transformer_pre_6_6_tiny", "--encoder-layers", "1", "--decoder-layers", "1"]
    translation += ["--criterion", "label_smoothed_cross_entropy", "--max-tokens", "400", "--max-update", "1"]
    inside("train", data, *translation, *TRAINING, "--save-dir", tmp_path)
    hub = TransformerModel.from_pretrained(str(tmp_path), "checkpoint_last.pt", str(data))
    assert len(hub.translate(["the man sees the dog ."] * 2, beam=2)) == 2
    assert load_checkpoint(str(tmp_path / "checkpoint_last.pt"))["cfg"]["model"].connection == "pre"


def quickstart(task: str, data: Path, output: Path, *options: str) -> dict:
    command = [sys.executable, "-m", "b2t_fairseq.cli", "quickstart", "--task", task, "--data", str(data)]
    command += ["--output", str(output), "--connections", "pre,b2t", "--updates", "12", *options]
    done = subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((output / "results.json").read_text())
    assert (output / "curves.png").stat().st_size > 5000
    assert results["curves"]["b2t"]["train"] and results["curves"]["b2t"]["valid"]
    for row in results["rows"]:
        for test, scores in row["scores"].items():
            for metric, score in scores.items():
                assert f"{metric} {score['score']:.2f} | split:{test} | " in done.stdout
    return results


@pytest.mark.slow
def test_quickstart_of_a_language_model(text, tmp_path):
    results = quickstart("lm", text, tmp_path / "run", "--layers", "1")
    names = [row["name"] for row in results["rows"]]
    assert names == ["pre", "b2t", "unigram"] and "tokenise:wikitext|threshold:3" in results["settings"]["corpus"]
    counts = {test: scores["ppl"]["counts"] for test, scores in results["rows"][1]["scores"].items()}
    assert set(counts) == {"valid", "test"} and counts["test"]["lines"] == 34
    assert results["rows"][2]["scores"]["test"]["ppl"]["counts"]["tokens"] == counts["test"]["tokens"]


@pytest.mark.slow
def test_quickstart_of_headlines(table, tmp_path):
    small = ("--layers", "1-1", "--vocab-size", "120", "--connections", "b2t")
    results = quickstart("summarization", table, tmp_path / "run", *small)
    names = [row["name"] for row in results["rows"]]
    assert names[0] == "b2t" and names[1].startswith("always: ") and names[2] == "first 12 words"
    assert all(set(row["scores"]["test"]) == {"ROUGE-1", "ROUGE-2", "ROUGE-L"} for row in results["rows"])


@pytest.mark.slow
@pytest.mark.skipif("B2T_DATA" not in os.environ, reason="B2T_DATA is not set")
@pytest.mark.parametrize(
    ("task", "name", "layers"), [("lm", "wikitext2-raw", "1"), ("summarization", "headlines/ag_news.tsv.gz", "1-1")]
)
def test_quickstart_of_real_corpora(task, name, layers, tmp_path):
    results = quickstart(task, Path(os.environ["B2T_DATA"]) / name, tmp_path / "run", "--layers", layers)
    assert all(row["failure"] is None for row in results["rows"])
