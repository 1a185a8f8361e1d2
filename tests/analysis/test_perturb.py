"""Small changes of texts: exactly the ones that are meant, drawn from the seed, and the greedy choice among them."""

from __future__ import annotations

from collections import Counter
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.perturb import change_once, change_texts, find_exchangeable
from bench.tasks.base import Split

Array = np.ndarray[Any, Any]


def all_changes(*texts: str) -> set[tuple[str, ...]]:
    """Everything that 200 seeds make of a sample."""
    return {change_once(texts, np.random.default_rng(seed)) for seed in range(200)}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("ab cd",), {("cd ab",), ("ba cd",), ("ab dc",), ("cd",), ("ab",)}),
        (("ab", "cd"), {("ba", "cd"), ("ab", "dc")}),  # words of two texts do not swap, the last one stays
        (("aa bb",), {("bb aa",), ("aa",), ("bb",)}),  # equal letters are not exchanged
        (("a a",), {("a",)}),  # equal words are not swapped
        ((" a  b ",), {(" b  a ",), (" b ",), (" a",)}),
        (("a",), {("a",)}),
        (("",), {("",)}),
        (("a1",), {("a1",)}),  # a digit is no letter
    ],
)
def test_one_change_is_a_swap_a_typo_or_a_dropped_word(texts: tuple[str, ...], expected: set[tuple[str, ...]]) -> None:
    assert all_changes(*texts) == expected


@given(st.text(max_size=60), st.integers(0, 2**32))
def test_a_change_invents_nothing_and_leaves_something(text: str, seed: int) -> None:
    (changed,) = change_once((text,), np.random.default_rng(seed))
    letters, kept = Counter("".join(text.split())), Counter("".join(changed.split()))
    assert kept <= letters
    assert len(text.split()) - len(changed.split()) in (0, 1)
    assert bool(changed.split()) == bool(text.split())


def test_exchangeable_letters() -> None:
    assert find_exchangeable("good!") == [0, 2]
    assert find_exchangeable("a") == []


WORDS = "alpha beta gamma delta epsilon zeta"


def split_of(count: int, second: bool = False) -> Split:
    texts = tuple(f"{WORDS} {chr(97 + i)}x" for i in range(count))
    return Split("made up", tuple(f"s{i}" for i in range(count)), texts, texts if second else None,
                 np.zeros(count, dtype=np.int64), count)  # fmt: skip


def never(split: Split) -> tuple[Array, Array]:
    raise AssertionError("Chance does not look.")


def test_chance_depends_on_seed_and_id_alone() -> None:
    whole = change_texts(split_of(6, second=True), never, edits=2, candidates=1, seed=3)
    again = change_texts(split_of(6, second=True), never, edits=2, candidates=1, seed=3)
    part = change_texts(split_of(6, second=True).take(np.array([4, 1])), never, edits=2, candidates=1, seed=3)
    other = change_texts(split_of(6, second=True), never, edits=2, candidates=1, seed=4)
    assert (whole.first, whole.second) == (again.first, again.second)
    assert whole.second is not None
    assert part.second is not None
    assert part.first == (whole.first[4], whole.first[1])
    assert part.second == (whole.second[4], whole.second[1])
    assert other.first != whole.first
    assert whole.ids == split_of(6).ids
    assert all((a, b) != (c, c) for a, b, c in zip(whole.first, whole.second, split_of(6).first, strict=True))


def last_word(split: Split) -> tuple[Array, Array]:
    """Leaves at the number of words; the score is how late in the alphabet the text begins."""
    return np.array([len(t.split()) for t in split.first]), np.array([float(ord(t[0])) for t in split.first])


def test_greed_takes_the_latest_exit_and_then_the_highest_score() -> None:
    """Dropping a word makes the exit earlier, so no word is ever dropped; swaps and typos at the start may help."""
    split = split_of(8)
    found = change_texts(split, last_word, edits=4, candidates=16, seed=0)
    before, after = last_word(split), last_word(found)
    assert (after[0] == before[0]).all()
    assert (after[1] >= before[1]).all()
    assert (after[1] > before[1]).any()


def test_what_does_not_help_is_not_done() -> None:
    split = split_of(4)
    found = change_texts(split, lambda s: (np.ones(len(s)), np.zeros(len(s))), edits=3, candidates=4, seed=0)
    assert found.first == split.first


def test_greed_is_the_best_of_what_chance_draws() -> None:
    """One round by brute force: the candidates are those of the same random numbers."""
    split, candidates = split_of(5), 6

    def look(s: Split) -> tuple[Array, Array]:
        return np.array([crc32(t.encode()) % 5 for t in s.first]), np.array([float(len(t)) for t in s.first])

    found = change_texts(split, look, edits=1, candidates=candidates, seed=9)
    for name, text, chosen in zip(split.ids, split.first, found.first, strict=True):
        random = np.random.default_rng([9, crc32(name.encode())])
        drawn = [change_once((text,), random)[0] for _ in range(candidates)]
        value = {t: (crc32(t.encode()) % 5, len(t)) for t in (text, *drawn)}
        assert value[chosen] == max(value.values())


@pytest.mark.parametrize(("edits", "candidates"), [(0, 1), (1, 0)])
def test_nothing_to_do_is_refused(edits: int, candidates: int) -> None:
    with pytest.raises(ValueError, match="At least one"):
        change_texts(split_of(1), never, edits=edits, candidates=candidates, seed=0)
