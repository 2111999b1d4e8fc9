"""Perplexity: both normalisations, complete texts only, and the unigram that stands beside it."""

import json
import math
from collections import Counter

import pytest

from b2t_fairseq import cli
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.evaluation.perplexity import Evaluation, corpus_perplexity, read_eval_lm
from b2t_fairseq.experiments.baselines.unigram import UnigramBaseline

LINES = ["a b c", "", "a <unk> b"]  # 6 words, 9 tokens
LOG = [
    "2026 | INFO | fairseq_cli.eval_lm | {'task': {'tokens_per_sample': 64}, 'eval_lm': {'context_window': 32}}",
    "2026 | INFO | fairseq_cli.eval_lm | Evaluated 9 tokens in 0.1s (90 tokens/s)",
    "2026 | INFO | fairseq_cli.eval_lm | Loss (base 2): 5.0000, Perplexity: 32.00",
]


def test_both_normalisations():
    scores = corpus_perplexity(read_eval_lm(LOG), LINES)
    assert scores["ppl"].score == 32 and scores["word ppl"].score == round(2 ** (5 * 9 / 6), 2)
    assert scores["ppl"].signature == "per:token|tokens:9|eos:scored|unk:a word|window:64|context:32"
    assert scores["word ppl"].signature.startswith("per:word|words:6|")
    assert scores["word ppl"].counts == {"tokens": 9, "words": 6, "lines": 3, "bits_per_token": 5.0}
    assert corpus_perplexity(read_eval_lm(LOG), LINES, words=3)["word ppl"].score == 2**15


def test_a_high_perplexity_is_the_one_that_eval_lm_printed():
    log = [*LOG[:2], LOG[2].replace("5.0000, Perplexity: 32.00", "9.7109, Perplexity: 838.08")]
    scores = corpus_perplexity(read_eval_lm(log), LINES)
    assert scores["ppl"].score == 838.08 != round(2**9.7109, 2)
    assert scores["word ppl"].score == pytest.approx(838.08 ** (9 / 6), abs=0.02)


@pytest.mark.parametrize("words", [0, -5, 10])
def test_a_text_has_at_most_as_many_words_as_tokens(words):
    with pytest.raises(UserError, match=f"--words {words}: the text has 9 tokens"):
        corpus_perplexity(read_eval_lm(LOG), LINES, words=words)


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (LOG[:1], "has no result"),
        (LOG[:2], "has no result"),
        ([*LOG, *LOG], "has 2 results"),
        ([*LOG, "skipping tokens with inf scores:"], "infinite loss"),
        ([LOG[1].replace("9 tokens", "8 tokens"), LOG[2]], "scored 8 tokens, but the text has 9"),
        ([LOG[1], LOG[2].replace("5.0000", "nan")], "a loss of nan"),
    ],
)
def test_errors_instead_of_numbers(log, message):
    with pytest.raises(UserError, match=message):
        corpus_perplexity(read_eval_lm(log), LINES)


def test_unigram_is_add_one_over_the_models_vocabulary():
    train = ["a a b", "a b c <unk>", ""]
    unigram = UnigramBaseline.fit(train, threshold=2)
    share = {"a": 4, "b": 3, "</s>": 4, "<unk>": 3}  # counts 3, 2, 3 and 2 (c, <unk>), each with one added
    test = ["a c", "d"]
    tokens = ["a", "<unk>", "</s>", "<unk>", "</s>"]
    bits = -sum(math.log2(share[token] / sum(share.values())) for token in tokens) / len(tokens)
    assert unigram.evaluate(test) == Evaluation(pytest.approx(bits), 5, "1", "0")
    assert Counter(unigram.counts) == Counter(share)


def test_command_line(tmp_path, capsys):
    (tmp_path / "log").write_text("\n".join(LOG))
    (tmp_path / "text").write_text("".join(f"{line}\n" for line in LINES))
    files = ["perplexity", "--output", str(tmp_path / "log"), "--text", str(tmp_path / "text")]
    assert cli.main([*files, "--split", "valid", "--json", str(tmp_path / "json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ppl 32.00 | split:valid | ") and lines[1].startswith("word ppl 181.02 | split:valid | ")
    assert json.loads((tmp_path / "json").read_text())["scores"]["ppl"]["counts"]["tokens"] == 9
    (tmp_path / "text").write_text("a b\n")
    assert cli.main(files) == 2
    assert "scored 9 tokens, but the text has 3" in capsys.readouterr().err
