"""Which errors are a user's, and their lines."""

import pytest

from b2t_fairseq.common.errors import UserError, explain

TOO_LONG = "Size of sample #5 is invalid (=({})) since max_positions=({}), skip this example with --skip-…"


@pytest.mark.parametrize(
    "mistake, line",
    [
        (UserError("x:\n  wrong"), "x: wrong"),
        (FileNotFoundError(2, "No such file or directory", "a.pt"), "a.pt: no such file or directory; check the path"),
        (PermissionError(13, "Permission denied", "a.pt"), "a.pt: permission denied; check the path in the command"),
        (FileNotFoundError("Dataset not found: train (bin)"), "Dataset not found: train (bin); check the data folder"),
        (Exception("Could not infer language pair, please provide it"), "no binarised language pair"),
        (AssertionError("Must specify batch size either with …"), "no batch size given: add --max-tokens N"),
        (Exception(TOO_LONG.format("6001, 7", "1024, 1024")), "the source of sentence 6 of 6,001 tokens"),
        (Exception(TOO_LONG.format("np.int64(3), np.int64(2000)", "1024, 1024")), "the target of sentence 6 of 2,000"),
        (Exception(TOO_LONG.format("6001, 0", "1024, 1024")), "a sentence of 6,001 tokens"),
    ],
)
def test_a_users_mistake_is_one_line(mistake, line):
    assert line in explain(mistake) and "\n" not in explain(mistake)


@pytest.mark.parametrize(
    "bug",
    [ValueError("x"), KeyError("x"), OSError(5, "Input/output error"), AssertionError(), Exception(TOO_LONG)],
)
def test_a_bug_keeps_its_traceback(bug):
    assert explain(bug) is None


def test_all_mistakes_have_one_base():
    from b2t_fairseq.corpora.parallel_text import CorpusError
    from b2t_fairseq.corpora.speech.features import AudioError
    from b2t_fairseq.layers.attention import MultiheadAttention

    assert issubclass(CorpusError, UserError) and issubclass(AudioError, UserError)
    with pytest.raises(UserError, match="the model width 10 is not a multiple of the 4 attention heads: choose"):
        MultiheadAttention(10, 4)
