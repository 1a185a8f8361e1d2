"""Small changes of a text, word by word, and which of them make a model think longer.

A change is one of three slips of a writer: two neighbouring words *swap* places, a *typo* exchanges two neighbouring
letters of a word, a word is *dropped*. They leave the label to a human reader what it was in most cases, though not by
construction: dropping "not" does not.

``change_texts`` makes ``edits`` changes one after another. With one candidate a round it is chance; with several it is
a greedy black-box attack on the exit: of the candidates and the text as it is, that one is kept that leaves latest.
Both draw from the same changes, so that the difference between them is the choice alone. The idea of attacking the exit
is DeepSloth's (Hong et al., ICLR 2021, gradients on images) and, with word substitutions on multi-exit BERT, SlowBERT's
(Zhang et al., Findings of ACL 2023); this one is simpler than either and thus a lower bound of what an attacker can do.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from bench.measure.curve import Array
from bench.tasks.base import Split

JudgeTexts = Callable[[Split], tuple[Array, Array]]
"""Exit layers int [N] of a split's samples, and how far each was from staying longer: its score there, [N]."""


def find_exchangeable(word: str) -> list[int]:
    """Return where two neighbouring letters of ``word`` differ, so that exchanging them changes something."""
    return [i for i in range(len(word) - 1) if word[i].isalpha() and word[i + 1].isalpha() and word[i] != word[i + 1]]


def change_once(texts: tuple[str, ...], random: np.random.Generator) -> tuple[str, ...]:
    """Return the texts of one sample with one change, drawn at random: first the word, then the kind.

    Texts in which nothing can be changed come back as they are. The only word of a text cannot be dropped.
    """
    words = []
    for number, text in enumerate(texts):
        spans = [match.span() for match in re.finditer(r"\S+", text)]
        for span, after in zip_longest(spans, spans[1:]):
            own = text[slice(*span)]
            kinds = ["swap"] if after is not None and text[slice(*after)] != own else []
            kinds += ["typo"] if find_exchangeable(own) else []
            kinds += ["drop"] if len(spans) > 1 else []
            words += [(number, span, after, kinds)] if kinds else []
    if not words:
        return texts
    number, (start, stop), after, kinds = words[int(random.integers(len(words)))]
    kind, text = kinds[int(random.integers(len(kinds)))], texts[number]
    before, own, rest = text[:start], text[start:stop], text[stop:]
    if kind == "drop":
        changed = (before + rest.lstrip() if rest.strip() else before.rstrip()) or text
    elif kind == "swap":
        changed = before + text[slice(*after)] + text[stop : after[0]] + own + text[after[1] :]
    else:
        places = find_exchangeable(own)
        i = places[int(random.integers(len(places)))]
        changed = before + own[:i] + own[i + 1] + own[i] + own[i + 2 :] + rest
    return (*texts[:number], changed, *texts[number + 1 :])


def change_texts(split: Split, look: JudgeTexts | None = None, *, edits: int, candidates: int = 1, seed: int) -> Split:
    """Return ``split`` with up to ``edits`` changes a sample, of ``candidates`` drawn for each change.

    With one candidate it is taken unseen, and ``look`` is not called. With more the one with the latest exit is taken,
    and among those the one whose score there is highest; the text as it is stays where none is later or as late and
    higher. What is drawn for a sample depends on ``seed`` and its id alone. Raises ValueError for numbers below 1.
    """
    if edits < 1 or candidates < 1:
        raise ValueError(f"At least one edit and one candidate are needed, not {edits} and {candidates}.")
    randoms = [np.random.default_rng([seed, zlib.crc32(name.encode())]) for name in split.ids]
    best: list[Array] | None = None
    for _ in range(edits):
        drawn = [
            [change_once(texts, random) for _ in range(candidates)]
            for texts, random in zip(_list_texts(split), randoms, strict=True)
        ]
        if candidates == 1 or look is None:
            split = _replace_texts(split, [row[0] for row in drawn])
            continue
        if best is None:
            best = list(look(split))
        repeated = split.take(np.repeat(np.arange(len(split)), candidates))
        flat = _replace_texts(repeated, [texts for row in drawn for texts in row])
        layers, scores = (np.asarray(found).reshape(len(split), candidates) for found in look(flat))
        texts = list(_list_texts(split))
        for i in range(len(split)):
            j = int(np.lexsort([scores[i], layers[i]])[-1])
            if (layers[i, j], scores[i, j]) > (best[0][i], best[1][i]):
                texts[i], best[0][i], best[1][i] = drawn[i][j], layers[i, j], scores[i, j]
        split = _replace_texts(split, texts)
    return split


def _list_texts(split: Split) -> list[tuple[str, ...]]:
    return [(a,) for a in split.first] if split.second is None else list(zip(split.first, split.second, strict=True))


def _replace_texts(split: Split, texts: list[tuple[str, ...]]) -> Split:
    second = None if split.second is None else tuple(pair[1] for pair in texts)
    return replace(split, first=tuple(pair[0] for pair in texts), second=second)
