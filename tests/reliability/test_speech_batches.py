"""What an utterance becomes does not depend on what it is batched with."""

import pytest
import torch
from builders import build_speech, randomise, speech
from fairseq.models.speech_to_text.modules.convolution import Conv1dSubsampler, Conv2dSubsampler

from b2t_fairseq.models.subsampler import halved, masked_subsample

SUBSAMPLERS = {
    "one-dimensional": lambda: Conv1dSubsampler(8, 16, 12, (3, 5)),
    "two-dimensional": lambda: Conv2dSubsampler(1, 8, 6, 12),
}


@pytest.mark.parametrize("kind", SUBSAMPLERS)
def test_each_utterance_is_subsampled_as_if_it_were_alone(kind):
    torch.manual_seed(1)
    subsampler = SUBSAMPLERS[kind]()
    features, lengths = speech()
    batched, steps = masked_subsample(subsampler, features, lengths)
    assert steps.tolist() == [10, 9, 6, 10, 3]
    for number, length in enumerate(lengths):
        alone, step = subsampler(features[number : number + 1, :length], lengths[number : number + 1])
        assert step.tolist() == [steps[number]]
        assert (batched[: steps[number], number] - alone[:, 0]).abs().max() < 1e-6


@pytest.mark.parametrize("padding, expected", [(None, True), ("masked", True), ("stock", False)])
def test_the_encoding_is_that_of_the_utterance_alone(padding, expected):
    model = randomise(build_speech(subsampler_padding=padding)).eval()
    features, lengths = speech()
    with torch.no_grad():
        batched = model.encoder(features, lengths)["encoder_out"][0]
        differences = []
        for number, length in enumerate(lengths):
            alone = model.encoder(features[number : number + 1, :length], lengths[number : number + 1])
            alone = alone["encoder_out"][0][:, 0]
            differences.append(float((batched[: len(alone), number] - alone).abs().max()))
    assert (max(differences) < 1e-5) is expected


def test_lengths():
    assert halved(torch.tensor([1, 2, 3, 4, 40])).tolist() == [1, 1, 2, 2, 20]
