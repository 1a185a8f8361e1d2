"""A fine-tuned model keeps its own classifier: the stock model's logits bit for bit, from any folder that it saves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode

from backbones import CLASSIFIERS, ENCODERS
from backbones.base import Batch
from backbones.errors import BackboneError, UserError
from backbones.labels import OwnLabels, match_labels, read_longest_input, read_own_labels
from backbones.load import load_backbone
from backbones.resolve import resolve_backbone
from tests.helpers.models.encoders import make_batch
from tests.helpers.models.finetuned_models import VARIANTS, make_stock, save_finetuned, stock_logits
from tests.helpers.models.model_folders import ask, save_model


def test_every_classifier_has_its_encoder() -> None:
    assert {"albert", "bert", "deberta-v2", "distilbert", "electra", "modernbert", "roberta"} <= set(CLASSIFIERS)
    assert set(CLASSIFIERS) <= set(ENCODERS)


def test_a_type_without_one_keeps_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CLASSIFIERS.table, "bert")
    assert read_own_labels(resolve_backbone(ask(folder)), asked=True) is None
    with pytest.raises(UserError, match="Unknown model type 'bert'") as error:
        load_backbone(ask(folder, init="finetuned"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("padded", [False, True], ids=["unpadded", "padded"])
@pytest.mark.parametrize("outputs", [1, 2, 5])
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_the_logits_are_the_stock_models_bit_for_bit(tmp_path: Path, variant: str, outputs: int, padded: bool) -> None:
    names = [f"class {i}" for i in range(outputs)]
    model = save_finetuned(tmp_path, variant, names)
    loaded = load_backbone(ask(tmp_path, init="finetuned"))
    assert loaded.classifier is not None
    batch = make_batch(padded, segments=False)
    found = loaded.classifier(loaded.encoder(batch)[-1], batch.attention_mask)
    assert found.shape == (3, outputs)
    assert torch.equal(found, stock_logits(model, batch))
    assert len(set(found.flatten().tolist())) == found.numel()
    for row in range(3):  # and alone
        tokens = 12 if batch.attention_mask is None else int(batch.attention_mask[row].sum())
        alone = Batch(batch.input_ids[row : row + 1, :tokens])
        answer = loaded.classifier(loaded.encoder(alone)[-1], None)
        assert torch.equal(answer, stock_logits(model, alone))


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_draws_the_stock_models_dropout(variant: str) -> None:
    model = make_stock(variant, 3, classifier_dropout=0.3, pooler_dropout=0.2, classifier_dropout_prob=0.3)
    kind = CLASSIFIERS.load(VARIANTS[variant][0])
    for module in model.base_model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    own, batch = kind(model), make_batch(True, segments=False)
    encoder = ENCODERS.load(VARIANTS[variant][0])(model.base_model)
    model.train(), own.train()
    torch.manual_seed(4)
    theirs = stock_logits(model, batch)
    torch.manual_seed(4)
    ours = own(encoder(batch)[-1], batch.attention_mask)
    assert torch.equal(ours, theirs)
    assert not torch.equal(own.eval()(encoder(batch)[-1], batch.attention_mask), theirs)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_what_it_costs_is_what_torch_counts(variant: str) -> None:
    own = CLASSIFIERS.load(VARIANTS[variant][0])(make_stock(variant, 3)).eval()
    hidden = torch.randn(1, 7, 32)
    with FlopCounterMode(display=False) as counter:
        own(hidden, None)
    assert counter.get_total_flops() == 2 * own.macs(7) > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_its_weights_are_its_own(variant: str) -> None:
    """No tensor is the encoder's too: each is trained, frozen and stored with the one or with the other."""
    model = make_stock(variant, 3)
    own = CLASSIFIERS.load(VARIANTS[variant][0])(model)
    encoder = {p.data_ptr() for p in model.base_model.parameters()}
    assert not encoder & {p.data_ptr() for p in own.parameters()}


def test_half_precision_is_widened_and_a_pooler_is_what_heads_begin_with(tmp_path: Path) -> None:
    model = save_finetuned(tmp_path, "bert", ["no", "yes"], torch_dtype="float16")
    weights = tmp_path / "model.safetensors"
    save_file({key: value.half() for key, value in load_file(weights).items()}, weights, metadata={"format": "pt"})
    loaded = load_backbone(ask(tmp_path, init="finetuned"))
    assert loaded.classifier is not None
    assert {p.dtype for p in loaded.classifier.parameters()} == {torch.float32}
    pooler = loaded.encoder.pretrained_pooler()
    assert pooler is not None
    assert torch.equal(pooler.weight, model.bert.pooler.dense.weight.half().float())


def test_other_inits_have_none_and_each_has_its_own_digest(tmp_path: Path) -> None:
    save_finetuned(tmp_path, "bert", ["no", "yes"])
    found = {init: load_backbone(ask(tmp_path, init=init)) for init in ("pretrained", "scratch", "finetuned")}
    assert [init for init, loaded in found.items() if loaded.classifier is not None] == ["finetuned"]
    assert len({loaded.digest for loaded in found.values()}) == 3


def edit(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def drop(folder: Path, prefix: str) -> None:
    weights = folder / "model.safetensors"
    kept = {key: value for key, value in load_file(weights).items() if not key.startswith(prefix)}
    save_file(kept, weights, metadata={"format": "pt"})


# ------------------------------------------------------------------ what it answers


def test_names_are_read_in_the_models_order(tmp_path: Path) -> None:
    save_finetuned(tmp_path, "roberta", ["pos", "neg", "mixed"], problem_type="single_label_classification")
    expected = OwnLabels(("pos", "neg", "mixed"), "single_label_classification")
    assert read_own_labels(resolve_backbone(ask(tmp_path))) == expected
    edit(tmp_path, id2label=None)
    assert read_own_labels(resolve_backbone(ask(tmp_path))) == expected


def test_two_classes_without_names_are_not_written_down(tmp_path: Path) -> None:
    make_stock("bert", 2).save_pretrained(tmp_path)
    save_finetuned(tmp_path, "bert", ["LABEL_0", "LABEL_1"])
    edit(tmp_path, id2label=None, label2id=None)
    assert read_own_labels(resolve_backbone(ask(tmp_path))) == OwnLabels(("LABEL_0", "LABEL_1"))


@pytest.mark.parametrize("names", [{"0": "a", "2": "b"}, {"0": "a", "1": "a"}, {}])
def test_names_that_make_no_sense_are_refused(tmp_path: Path, names: dict[str, str]) -> None:
    save_finetuned(tmp_path, "bert", ["a", "b"])
    edit(tmp_path, id2label=names)
    with pytest.raises(BackboneError, match="The id2label of folder:"):
        read_own_labels(resolve_backbone(ask(tmp_path)))


def test_names_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    save_finetuned(tmp_path, "bert", ["a", "b"])
    edit(tmp_path, label2id={"a": 1, "b": 0})
    with pytest.raises(BackboneError, match="class 0 is 'a' in id2label, and 'a' is 1 in label2id"):
        read_own_labels(resolve_backbone(ask(tmp_path)))
    edit(tmp_path, label2id={"LABEL_0": 0, "LABEL_1": 1})  # what transformers fills in contradicts nothing
    assert read_own_labels(resolve_backbone(ask(tmp_path))) == OwnLabels(("a", "b"))


def test_what_has_no_classifier_has_no_labels(tmp_path: Path) -> None:
    save_model(tmp_path / "encoder")
    assert read_own_labels(resolve_backbone(ask(tmp_path / "encoder")), asked=True) is None
    folder = tmp_path / "tuned"
    save_finetuned(folder, "bert", ["a", "b"])
    edit(folder, architectures=None)
    assert read_own_labels(resolve_backbone(ask(folder))) is None
    assert read_own_labels(resolve_backbone(ask(folder)), asked=True) == OwnLabels(("a", "b"))
    edit(folder, architectures=["BertForSequenceClassification"])
    drop(folder, "classifier.")
    assert read_own_labels(resolve_backbone(ask(folder))) is None


@pytest.mark.parametrize("prefix", ["bert.pooler.", "classifier.bias", "bert.encoder.layer.1"])
def test_half_a_classifier_is_refused(tmp_path: Path, prefix: str) -> None:
    save_finetuned(tmp_path, "bert", ["a", "b"])
    drop(tmp_path, prefix)
    with pytest.raises(BackboneError, match=f"lack [0-9]+ of a fine-tuned model's, such as {prefix}"):
        load_backbone(ask(tmp_path, init="finetuned"))


def test_a_cut_model_has_lost_what_its_classifier_reads(tmp_path: Path) -> None:
    save_finetuned(tmp_path, "bert", ["a", "b"])
    with pytest.raises(BackboneError, match="reads layer 3: without it, take --init pretrained for its first 2 layers"):
        resolve_backbone(ask(tmp_path, init="finetuned", overrides={"num_hidden_layers": 2}))
    assert resolve_backbone(ask(tmp_path, init="finetuned", overrides={"num_hidden_layers": 3})).init == "finetuned"


def test_the_longest_input_is_the_tokenizers_or_the_position_tables(tmp_path: Path) -> None:
    save_finetuned(tmp_path, "roberta", ["a", "b"])
    assert read_longest_input(resolve_backbone(ask(tmp_path))) == 32
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": 10**30}))
    assert read_longest_input(resolve_backbone(ask(tmp_path))) == 40 - 2
    path.unlink()
    assert read_longest_input(resolve_backbone(ask(tmp_path))) == 40 - 2


# ------------------------------------------------------------------ which class is which

MATCHED = {
    "same": (("neg", "pos"), ("neg", "pos"), ((0, 1), "name")),
    "another order": (("pos", "neg", "mixed"), ("mixed", "neg", "pos"), ((2, 1, 0), "name")),
    "upper case": (("NEGATIVE", "Positive "), ("positive", "negative"), ((1, 0), "case")),
    "model without names": (("LABEL_0", "LABEL_1"), ("neg", "pos"), ((0, 1), "position")),
    "task of numbers": (("neg", "pos"), ("0", "1"), ((0, 1), "position")),
    "numbers as texts are sorted": (
        tuple("abcdefghijk"),
        ("LABEL_0", "LABEL_1", "LABEL_10", *(f"LABEL_{i}" for i in range(2, 10))),
        ((0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9), "position"),
    ),
    "both without names": (("LABEL_0", "LABEL_1"), ("1", "0"), ((1, 0), "position")),
    "names that swap": (("LABEL_1", "LABEL_0"), ("LABEL_0", "LABEL_1"), ((1, 0), "name")),
    "regression": (("LABEL_0",), None, ((0,), "regression")),
}


@pytest.mark.parametrize("case", MATCHED)
def test_classes_are_matched(case: str) -> None:
    theirs, ours, expected = MATCHED[case]
    found = match_labels(OwnLabels(theirs), ours)
    assert (found.order, found.how) == expected


MANY = tuple(f"intent {i}" for i in range(77))
MISMATCHED = {
    "names": (OwnLabels(("neg", "pos")), ("ham", "spam"), "its classes are neg, pos, the task's ham, spam"),
    "number": (OwnLabels(("neg", "pos")), ("neg", "pos", "so so"), "its classes are neg, pos, the task's neg, pos, so"),
    "numbers": (
        OwnLabels(("LABEL_0", "LABEL_1", "LABEL_2")),
        ("a", "b"),
        "its classes are LABEL_0, .*, the task's a, b",
    ),
    "a permuted LABEL": (OwnLabels(("LABEL_1", "LABEL_0")), ("a", "b"), "its classes are LABEL_1, LABEL_0, the task's"),
    "many": (OwnLabels(MANY), (*MANY[1:], "other"), "77 classes, of which the task lacks intent 0, .* it lacks other"),
    "case is two": (OwnLabels(("A", "a")), ("A", "b"), "its classes are A, a, the task's A, b"),
    "regression": (OwnLabels(("LABEL_0",)), ("a", "b"), "a regression of one number, and the task's classes are a, b"),
    "classes": (OwnLabels(("a", "b")), None, "its classes are a, b, and the task is a regression"),
    "two numbers": (OwnLabels(("x", "y"), "regression"), None, "a regression of 2 numbers, and the task's targets"),
    "multi-label": (OwnLabels(("a", "b"), "multi_label_classification"), ("a", "b"), "it is multi-label"),
}


@pytest.mark.parametrize("case", MISMATCHED)
def test_what_does_not_fit_is_said(case: str) -> None:
    own, classes, message = MISMATCHED[case]
    with pytest.raises(BackboneError, match=message) as caught:
        match_labels(own, classes)
    assert len(str(caught.value)) < 300
