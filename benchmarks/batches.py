"""Synthetic dictionaries and batches: random words, sentence lengths like those of a real, length-sorted batch."""

import torch
from fairseq.data import Dictionary

PAD, EOS, FIRST_WORD = 1, 2, 4


def dictionary(size: int) -> Dictionary:
    """Return a dictionary of `size` symbols, fairseq's four special ones among them."""
    words = Dictionary()
    for i in range(size - len(words)):
        words.add_symbol(f"w{i}")
    return words


def random_sentences(
    lengths: torch.Tensor, vocabulary: int, left_pad: bool, generator: torch.Generator
) -> torch.Tensor:
    """Return random sentences (B, T) that end with EOS, padded to the longest."""
    longest = int(lengths.max())
    tokens = torch.full((len(lengths), longest), PAD)
    for row, length in zip(tokens, lengths.tolist(), strict=True):
        place = row[longest - length :] if left_pad else row[:length]
        place.copy_(torch.randint(FIRST_WORD, vocabulary, (length,), generator=generator))
        place[-1] = EOS
    return tokens


def shift(target: torch.Tensor) -> torch.Tensor:
    """Return the decoder's input: the target (B, T) moved right behind an EOS; an EOS at the end becomes padding."""
    shifted = torch.full_like(target, PAD)
    shifted[:, 1:] = target[:, :-1].masked_fill(target[:, :-1] == EOS, PAD)
    shifted[:, 0] = EOS
    return shifted


def translation_batch(
    tokens: int, vocabulary: int, seed: int = 0, mean: int = 28, sentences: int | None = None
) -> dict:
    """Return a fairseq sample of about `tokens` positions a side, padding included; source padded left, target right.

    Args:
        tokens: sentences x longest sentence, as fairseq's --max-tokens counts.
        vocabulary: size of the dictionary.
        seed: of the random words and lengths.
        mean: mean length; fairseq batches sentences of nearly equal length, here +-2 (target: +-4 around the source).
        sentences: number of sentences, instead of what `tokens` allows.
    """
    random = torch.Generator().manual_seed(seed)
    count = sentences or max(1, tokens // (mean + 3))
    lengths = torch.randint(mean - 2, mean + 3, (count,), generator=random).sort(descending=True).values
    target_lengths = (lengths + torch.randint(-2, 3, (count,), generator=random)).clamp(min=2)
    source = random_sentences(lengths, vocabulary, left_pad=True, generator=random)
    target = random_sentences(target_lengths, vocabulary, left_pad=False, generator=random)
    inputs = {"src_tokens": source, "src_lengths": lengths, "prev_output_tokens": shift(target)}
    return {
        "id": torch.arange(count),
        "nsentences": count,
        "ntokens": int(target_lengths.sum()),
        "net_input": inputs,
        "target": target,
    }


def language_model_batch(tokens: int, vocabulary: int, seed: int = 0, block: int = 512) -> dict:
    """Return a fairseq sample of unbroken text: blocks of `block` words without padding."""
    random = torch.Generator().manual_seed(seed)
    block = min(block, tokens)
    text = torch.randint(FIRST_WORD, vocabulary, (max(1, tokens // block), block + 1), generator=random)
    inputs = {"src_tokens": text[:, :-1].contiguous(), "src_lengths": torch.full((len(text),), block)}
    return {
        "id": torch.arange(len(text)),
        "nsentences": len(text),
        "ntokens": text[:, 1:].numel(),
        "net_input": inputs,
        "target": text[:, 1:].contiguous(),
    }
