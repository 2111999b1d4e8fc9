"""No sentence is lost between a data set and its batches."""

import re

import numpy as np
import pytest
from fairseq import options
from fairseq.data import data_utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_cli import generate

LENGTHS = np.random.RandomState(0).randint(2, 30, size=200)


def batches(size, vectorised=True, **limits):
    indices = np.argsort(LENGTHS[:size], kind="stable")
    vector = LENGTHS[indices] if vectorised else None
    return indices, data_utils.batch_by_size(indices, lambda i: LENGTHS[i], vector, **limits)


@pytest.mark.parametrize("vectorised", [True, False])
@pytest.mark.parametrize("limits", [{"max_tokens": 100}, {"max_sentences": 11}, {"max_tokens": 64, "max_sentences": 6}])
@pytest.mark.parametrize("multiple", [1, 3, 8])
def test_every_sentence_is_in_one_batch_within_the_limits(limits, multiple, vectorised):
    for size in [*range(1, 41), 200]:
        indices, formed = batches(size, vectorised, required_batch_size_multiple=multiple, **limits)
        assert np.concatenate(formed).tolist() == indices.tolist()
        for batch in formed:
            assert len(batch) <= limits.get("max_sentences", len(batch))
            assert len(batch) * LENGTHS[batch].max() <= limits.get("max_tokens", np.inf)


def test_full_batches_are_those_of_fairseq():
    original = data_utils.batch_by_size.__wrapped__
    indices = np.argsort(LENGTHS, kind="stable")
    stock = original(indices, None, LENGTHS[indices], max_tokens=300, required_batch_size_multiple=8)
    ours = data_utils.batch_by_size(indices, None, LENGTHS[indices], max_tokens=300, required_batch_size_multiple=8)
    assert [b.tolist() for b in stock] == [b.tolist() for b in ours[: len(stock)]]
    assert len(ours) - len(stock) <= 1


def test_empty_data_and_generators():
    assert data_utils.batch_by_size([], None, max_tokens=10, required_batch_size_multiple=8) == []
    formed = data_utils.batch_by_size((i for i in range(5)), lambda i: 3, max_tokens=99, required_batch_size_multiple=8)
    assert [b.tolist() for b in formed] == [[0, 1, 2, 3, 4]]


def test_fixed_shapes_keep_all():
    indices = np.argsort(LENGTHS[:37], kind="stable")
    shapes = [(4, 10), (4, 20), (2, 30)]
    formed = data_utils.batch_by_size(
        indices, lambda i: LENGTHS[i], required_batch_size_multiple=8, fixed_shapes=np.array(shapes)
    )
    assert sorted(np.concatenate(formed).tolist()) == sorted(indices.tolist())


@pytest.mark.slow
def test_as_many_hypotheses_as_sentences(trained, data, sizes, capsys):
    limits = ["--beam=1", "--max-len-b=3", "--max-tokens=60", "--cpu", "--num-workers=0"]
    arguments = [str(data), "--path", str(trained.last), *limits]
    args = options.parse_args_and_arch(options.get_generation_parser(), arguments)
    cfg = convert_namespace_to_omegaconf(args)
    for number, size in enumerate(sizes):
        cfg.dataset.gen_subset = f"test{number or ''}"
        capsys.readouterr()
        generate.main(cfg)
        numbers = re.findall(r"^H-(\d+)\t", capsys.readouterr().out, re.MULTILINE)
        assert sorted(map(int, numbers)) == list(range(size))
