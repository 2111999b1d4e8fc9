"""Headlines without a model: the best headline for every text alike, and the first words of the text itself."""

from collections import Counter
from collections.abc import Sequence

Pairs = Sequence[tuple[str, str]]
FINALISTS = 20


def best_constant(train: Pairs, valid: Pairs) -> str:
    """Return the training headline that, said for every validation text, has the highest ROUGE-1 + ROUGE-2 + ROUGE-L.

    Overlap of word sets finds the finalists among all headlines; ROUGE itself decides between them.
    """
    from ...evaluation.rouge import sentence_scores

    references = [headline for _, headline in valid[:500]]
    sets = [set(reference.lower().split()) for reference in references]
    common = Counter(word for words in sets for word in words)
    candidates = {headline: set(headline.lower().split()) for _, headline in train}
    promise = {text: sum(common[word] for word in words) / (len(words) + 8) for text, words in candidates.items()}
    promising = sorted(promise, key=lambda text: (-promise[text], text))[:1000]  # those with many frequent words

    def overlap(text: str) -> float:
        words = candidates[text]
        return sum(2 * len(words & other) / (len(words) + len(other)) for other in sets)

    finalists = sorted(promising, key=lambda text: (-overlap(text), text))[:FINALISTS]
    return max(finalists, key=lambda text: sentence_scores([text] * len(references), references)[0].mean())


def first_words(text: str, number: int = 12) -> str:
    """Return how a text begins."""
    return " ".join(text.split()[:number])
