"""From texts to batches: lengths, truncation, padding and the order of samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from backbones.load import load_tokenizer
from backbones.resolve import BackboneRequest, resolve_backbone
from bench.tasks.base import Split
from bench.tasks.encode import POOL, EncodedSplit, batch_by_length, batch_for_training, collate_batch, encode_split

VOCABULARY = {word: i for i, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "b", "c"])}
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=400).map(lambda values: np.array(values, np.int64))


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", model_input_names=names)


def split_of(first: list[str], second: list[str] | None = None) -> Split:
    ids = tuple(str(i) for i in range(len(first)))
    pair = None if second is None else tuple(second)
    return Split("s", ids, tuple(first), pair, np.zeros(len(first), np.int64), len(first))


def test_single_sentences(tokenizer: PreTrainedTokenizerFast) -> None:
    found = encode_split(split_of(["a b", "c", "a b c a b"]), tokenizer, max_length=5)
    assert found.input_ids == [[1, 4, 5, 2], [1, 6, 2], [1, 4, 5, 6, 2]]
    assert found.token_type_ids is None
    assert found.lengths.tolist() == [4, 3, 5]
    assert found.truncated == 1


def test_a_sample_that_just_fits_is_not_truncated(tokenizer: PreTrainedTokenizerFast) -> None:
    assert encode_split(split_of(["a b c"]), tokenizer, max_length=5).truncated == 0
    assert encode_split(split_of(["a b c"], ["a"]), tokenizer, max_length=7).truncated == 0
    assert encode_split(split_of(["a b c"], ["a"]), tokenizer, max_length=6).truncated == 1


def test_pairs_have_token_types(tokenizer: PreTrainedTokenizerFast) -> None:
    found = encode_split(split_of(["a b"], ["c"]), tokenizer, max_length=16)
    assert found.input_ids == [[1, 4, 5, 2, 6, 2]]
    assert found.token_type_ids == [[0, 0, 0, 0, 1, 1]]
    tokenizer.model_input_names = ["input_ids", "attention_mask"]  # a model of one segment
    assert encode_split(split_of(["a b"], ["c"]), tokenizer, max_length=16).token_type_ids is None


@pytest.mark.shared
@pytest.mark.parametrize(
    ("model", "types"),
    [("albert/albert-base-v2", True), ("google-bert/bert-base-uncased", True), ("FacebookAI/roberta-base", False)],
)
def test_real_tokenizers_give_the_types_that_the_model_uses(shared: Path, model: str, types: bool) -> None:
    request = BackboneRequest(model, hub_root=shared / "hub", init="scratch")
    real = load_tokenizer(resolve_backbone(request), shared / "hub" / "models" / model)
    found = encode_split(split_of(["A long first sentence, cut. " * 9], ["And the second."]), real, max_length=24)
    assert found.lengths.tolist() == [24]
    assert found.truncated == 1
    assert (found.token_type_ids is not None) == types
    if found.token_type_ids is not None:
        assert set(found.token_type_ids[0]) == {0, 1}


def test_collate_pads_to_the_longest_of_the_batch() -> None:
    encoded = EncodedSplit(
        [[1, 2], [1, 4, 2], [1, 4, 4, 4, 2]], [[0, 1], [0, 0, 1], [0] * 5], np.array([2, 3, 5]), 0, pad_id=9
    )
    batch = collate_batch(encoded, [1, 0])
    assert batch.attention_mask is not None
    assert batch.token_type_ids is not None
    assert batch.input_ids.tolist() == [[1, 4, 2], [1, 2, 9]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.token_type_ids.tolist() == [[0, 0, 1], [0, 1, 0]]
    assert {t.dtype for t in (batch.input_ids, batch.attention_mask, batch.token_type_ids)} == {torch.int64}
    assert collate_batch(encoded, np.array([2])).attention_mask is None


@given(lengths=LENGTHS, size=st.integers(1, 50))
def test_length_batches_hold_every_row_once_longest_first(lengths: np.ndarray, size: int) -> None:
    batches = batch_by_length(lengths, size)
    order = np.concatenate(batches)
    assert sorted(order) == list(range(len(lengths)))
    assert (np.diff(lengths[order]) <= 0).all()
    assert all(len(batch) == size for batch in batches[:-1])


@given(lengths=LENGTHS, size=st.integers(1, 50), seed=st.integers(0, 99), epoch=st.integers(0, 9))
def test_training_batches_hold_every_row_once(lengths: np.ndarray, size: int, seed: int, epoch: int) -> None:
    batches = batch_for_training(lengths, size, seed, epoch)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // size)
    again = batch_for_training(lengths, size, seed, epoch)
    assert [b.tolist() for b in again] == [b.tolist() for b in batches]


def test_training_batches_differ_by_epoch_and_seed_and_are_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(5, 128, POOL * 8 * 3)
    orders = [np.concatenate(batch_for_training(lengths, 8, seed, epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert len({tuple(order) for order in orders}) == 3
    padding = sum(len(b) * lengths[b].max() for b in batch_for_training(lengths, 8, 0, 0)) / lengths.sum()
    shuffled = np.random.default_rng(1).permutation(len(lengths)).reshape(-1, 8)
    assert padding < 1.1 < sum(8 * lengths[b].max() for b in shuffled) / lengths.sum()
    means = [lengths[b].mean() for b in batch_for_training(lengths, 8, 0, 0)]
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.3  # batches do not come in order of length
