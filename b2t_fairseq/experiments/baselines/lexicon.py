"""The word-by-word baseline: each source word becomes its likeliest translation, in the source's order.

The lexicon is IBM model 1 (Brown et al. 1993), learnt by EM from the training pairs alone:

    t(f|e) <- c(e,f) / sum_f' c(e,f')
    c(e,f)  = sum over the pairs with e and f of  t(f|e) / sum_{e' in source + NULL} t(f|e')

A translation score means little without it: what beats it clearly has learnt order and agreement, not only words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

_TOKEN = re.compile(r"\w+(?:[-'’]\w+)*|[^\w\s]")
_NULL = 0  # the source word that target words without a counterpart come from
_CLOSING, _OPENING = frozenset(".,;:!?)]}”’%"), frozenset("([{“‘")


def _words(sentence: str) -> list[str]:
    return [token for token in _TOKEN.findall(sentence) if token[0].isalnum()]


class LexiconBaseline:
    """Word-by-word translation with the table learnt by `fit`: source word in lower case -> target word."""

    def __init__(self, lexicon: dict[str, str]) -> None:
        self.lexicon = lexicon

    @classmethod
    def fit(cls, pairs: Sequence[tuple[str, str]], iterations: int = 6) -> LexiconBaseline:
        """Learn the table from (source, target) sentence pairs; the same pairs always give the same table."""
        sources = [[word.lower() for word in _words(source)] for source, _ in pairs]
        targets = _truecased([_words(target) for _, target in pairs])
        source_ids, source_words = _number(sources, first=1)
        target_ids, target_words = _number(targets, first=0)
        if not source_words or not target_words:
            return cls({})

        # One entry per (source or NULL, target) word pair of each sentence pair: its types, its target token.
        types, tokens, count = [], [], 0
        for source, target in zip(source_ids, target_ids, strict=True):
            e, f = np.array([_NULL, *source]), np.array(target, dtype=np.int64)
            types.append((e[:, None] * len(target_words) + f[None, :]).ravel())
            tokens.append(np.tile(np.arange(count, count + len(f)), len(e)))
            count += len(f)
        type_codes, entries = np.unique(np.concatenate(types), return_inverse=True)
        token_of, e_of, f_of = np.concatenate(tokens), type_codes // len(target_words), type_codes % len(target_words)

        probability = np.full(len(type_codes), 1.0)
        for _ in range(iterations):
            weight = probability[entries]
            weight /= np.bincount(token_of, weights=weight, minlength=count)[token_of]
            expected = np.bincount(entries, weights=weight, minlength=len(type_codes))
            probability = expected / np.bincount(e_of, weights=expected)[e_of]

        # By source word, then falling probability, then target word: the first of each source word is its argmax.
        order = np.lexsort((f_of, -probability, e_of))
        best, first = np.unique(e_of[order], return_index=True)
        lexicon = {
            source_words[e - 1]: target_words[f] for e, f in zip(best, f_of[order][first], strict=True) if e != _NULL
        }
        return cls(lexicon)

    def translate(self, sentence: str) -> str:
        """Translate a sentence word by word: copy unknown words and punctuation, begin with a capital."""
        text, glue = "", True
        for token in _TOKEN.findall(sentence):
            word = self.lexicon.get(token.lower(), token) if token[0].isalnum() else token
            text += word if glue or token in _CLOSING else f" {word}"
            glue = token in _OPENING
        return text[:1].upper() + text[1:]


def _truecased(sentences: list[list[str]]) -> list[list[str]]:
    """First words as they are usually written inside a sentence, so that 'Der' and 'der' are one word."""
    casings: dict[str, Counter[str]] = {}
    for words in sentences:
        for word in words[1:]:
            casings.setdefault(word.lower(), Counter())[word] += 1
    usual = {lower: max(sorted(counts), key=counts.__getitem__) for lower, counts in casings.items()}
    return [[usual.get(words[0].lower(), words[0]), *words[1:]] if words else [] for words in sentences]


def _number(sentences: Iterable[Sequence[str]], first: int) -> tuple[list[list[int]], list[str]]:
    """Words as numbers from `first` on, in order of appearance, and the words in that order."""
    numbers: dict[str, int] = {}
    ids = [[numbers.setdefault(word, first + len(numbers)) for word in words] for words in sentences]
    return ids, list(numbers)
