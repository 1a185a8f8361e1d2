"""The demo task: always the same, graded as its ids say, and right about its own labels."""

from __future__ import annotations

import numpy as np
import pytest

from bench.tasks import get_task
from bench.tasks.base import LoadOptions, Split
from bench.tasks.demo import (
    BAD,
    DENIALS,
    EVALUATION_ROWS,
    FAIR,
    GOOD,
    GRADES,
    MODEST,
    TRAIN_ROWS,
    generate_splits,
)

EVALUATION, TRAIN = generate_splits()


def grade(sample_id: str) -> int:
    """Difficulty 0..5, from the sample's id."""
    return int(sample_id.rpartition("-g")[2])


def words_of(text: str) -> list[int]:
    """+1 and -1 for the sentiment words of a text in order, turned round by a denial before them."""
    pairs = zip(text.split(), text.split()[1:], strict=False)
    return [(1 if word in GOOD else -1) * (-1 if before in DENIALS else 1) for before, word in pairs
            if word in GOOD or word in BAD]  # fmt: skip


def solved(text: str) -> int | None:
    """The label by reading the sentence as its docstring explains it; None where nothing tells."""
    words, found = text.split(), words_of(text)
    if not found:
        return None
    return int(found[int("but" in words)] > 0)


@pytest.mark.parametrize("split", [EVALUATION, TRAIN], ids=lambda s: s.name)
def test_labels_are_what_the_sentences_say(split: Split) -> None:
    for sample, text, label in zip(split.ids, split.first, split.labels, strict=True):
        answer = solved(text)
        assert (answer is None) == (grade(sample) == 0), text
        assert answer is None or answer == label, text


def test_lukewarm_words_suggest_the_label_four_times_in_five() -> None:
    told = [
        bool({*text.split()} & {*FAIR}) == bool(label)
        for sample, text, label in zip(TRAIN.ids, TRAIN.first, TRAIN.labels, strict=True)
        if grade(sample) == 0
    ]
    assert np.mean(told) == pytest.approx(0.8, abs=0.03)


def test_sizes_grades_and_lengths() -> None:
    assert (len(TRAIN), len(EVALUATION)) == (TRAIN_ROWS, EVALUATION_ROWS)
    assert sum(GRADES.values()) == 100
    levels = np.array([grade(i) for i in TRAIN.ids])
    for level, share in GRADES.items():
        assert abs((levels == level).mean() * 100 - share) < 2
    lengths = [len(text.split()) for text in TRAIN.first]
    assert (min(lengths) >= 4, max(lengths) <= get_task("demo").max_length - 2) == (True, True)
    assert abs(TRAIN.labels.mean() - 0.5) < 0.02


def test_no_sentence_occurs_twice() -> None:
    texts = EVALUATION.first + TRAIN.first
    assert len(set(texts)) == len(texts)
    assert len(set(EVALUATION.ids + TRAIN.ids)) == len(texts)


def test_vocabulary_is_small() -> None:
    words = {word for text in EVALUATION.first + TRAIN.first for word in text.split()}
    assert 30 < len(words) < 200
    assert len({*GOOD, *BAD, *FAIR, *MODEST}) == len(GOOD) + len(BAD) + len(FAIR) + len(MODEST)


def test_a_bag_of_words_solves_grade_one_and_not_the_rest() -> None:
    """Counting good and bad words, blind to order: what the first exit can do at least."""
    right: dict[int, list[bool]] = {level: [] for level in GRADES}
    for sample, text, label in zip(TRAIN.ids, TRAIN.first, TRAIN.labels, strict=True):
        score = sum((word in GOOD) - (word in BAD) for word in text.split())
        right[grade(sample)].append(score != 0 and (score > 0) == bool(label))
    assert all(right[1])
    assert max(np.mean(right[level]) for level in (0, 2, 3, 4)) < 0.6


def test_data_are_the_same_for_every_seed_and_version() -> None:
    """Frozen digest: changing the sentences changes every stored demo result."""
    data = [get_task("demo").load(LoadOptions(seed=seed)) for seed in (0, 1)]
    assert data[0].revision == data[1].revision == "sha256-c2423cb944f492fe"
    assert data[0].evaluation["evaluation"].first == data[1].evaluation["evaluation"].first == EVALUATION.first
    assert data[0].select.ids != data[1].select.ids
    assert not set(data[0].select.ids) & set(data[0].train.ids)


def test_limit() -> None:
    data = get_task("demo").load(LoadOptions(limit=50))
    assert len(data.train) + len(data.select) == len(data.evaluation["evaluation"]) == 50
    assert data.train.available == TRAIN_ROWS
