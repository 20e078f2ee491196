"""Texts against references: BLEU, ROUGE-L and CIDEr-D, one vector of statistics an item, so that a bootstrap costs little.

In: texts and references, one each. Out: numbers. These figures mislead on their own (a constant answer scores well): `words.py` prints them
beside controls. Knows no video.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from math import exp, log

import numpy as np
import numpy.typing as npt
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

Floats = npt.NDArray[np.float64]
ORDER = 4
SIGMA = 6.0  # of CIDEr-D's penalty on length, in words


def tokens(text: str) -> list[str]:
    """CIDEr-D's tokenizer here: lower case, runs of letters and digits; punctuation is left out. Fixed, so that figures compare."""
    return re.findall(r"[a-z0-9]+", text.lower())


class Bleu:
    """Corpus BLEU from statistics of items. signature: sacrebleu's, to be printed with the figure."""

    def __init__(self) -> None:
        self.metric = BLEU(effective_order=False)
        self.metric.corpus_score(["a"], [["a"]])  # the signature wants to know how many references there are
        self.signature = str(self.metric.get_signature())

    def statistics(self, texts: Sequence[str], references: Sequence[str]) -> Floats:
        """[N, 2 + 2 * 4]: lengths of text and reference, matches and totals by order."""
        rows = []
        for text, reference in zip(texts, references, strict=True):
            found = self.metric.corpus_score([text], [[reference]])  # of one sentence
            rows.append([found.sys_len, found.ref_len, *found.counts, *found.totals])
        return np.array(rows, np.float64).reshape(len(rows), 2 + 2 * ORDER)

    def score(self, statistics: Floats) -> float:
        """BLEU, 0 to 100, of summed statistics."""
        total = statistics.sum(0).astype(int)
        found = BLEU.compute_bleu(
            correct=total[2 : 2 + ORDER].tolist(), total=total[2 + ORDER :].tolist(), sys_len=int(total[0]), ref_len=int(total[1])
        )  # fmt: skip
        return float(found.score)


def rouge_l(texts: Sequence[str], references: Sequence[str]) -> Floats:
    """ROUGE-L's F of each item, 0 to 1 (Lin 2004; rouge-score, stemmed)."""
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return np.array([scorer.score(r, t)["rougeL"].fmeasure for t, r in zip(texts, references, strict=True)])


class CiderD:
    """CIDEr-D (Vedantam et al. 2015) with document frequencies of the references: one an item, or several, over which the score is averaged."""

    def __init__(self, references: Sequence[str | Sequence[str]]) -> None:
        grams = [[self._grams(r) for r in ([own] if isinstance(own, str) else own)] for own in references]
        self.frequency = [
            Counter(g for own in grams for g in set().union(*(one[n] for one in own))) for n in range(ORDER)
        ]
        self.documents = log(max(2, len(references)))
        self.vectors = [[self._vectors(one) for one in own] for own in grams]

    def _grams(self, text: str) -> list[Counter[tuple[str, ...]]]:
        words = tokens(text)
        return [Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for n in range(1, ORDER + 1)]

    def _vectors(
        self, grams: list[Counter[tuple[str, ...]]]
    ) -> tuple[list[dict[tuple[str, ...], float]], list[float], int]:
        vectors = [
            {g: count * (self.documents - log(max(1, self.frequency[n][g]))) for g, count in own.items()}
            for n, own in enumerate(grams)
        ]
        return vectors, [sum(v * v for v in own.values()) ** 0.5 for own in vectors], sum(grams[0].values())

    def __call__(self, texts: Sequence[str], places: Sequence[int] | None = None) -> Floats:
        """The score of each text against the references at its place, 0 to 10."""
        at = range(len(texts)) if places is None else places
        return np.array(
            [float(np.mean([self._one(t, r) for r in self.vectors[i]])) for t, i in zip(texts, at, strict=True)]
        )

    def _one(self, text: str, reference: tuple[list[dict[tuple[str, ...], float]], list[float], int]) -> float:
        ours, norms, length = self._vectors(self._grams(text))
        theirs, their_norms, their_length = reference
        penalty = exp(-((length - their_length) ** 2) / (2 * SIGMA**2))
        found = 0.0
        for n in range(ORDER):
            both = sum(min(v, theirs[n][g]) * theirs[n][g] for g, v in ours[n].items() if g in theirs[n])
            if norms[n] and their_norms[n]:
                found += both / (norms[n] * their_norms[n])
        return 10.0 * penalty * found / ORDER
