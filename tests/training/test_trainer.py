"""The trainer: same seed same weights, resumed or not; schedule, accumulation, freezing, clipping; and it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from backbones.base import Batch
from backbones.load import BackboneRequest, load_backbone
from bench.errors import UsageError
from bench.inference.exits import record_exits
from bench.progress import Progress
from bench.tasks.base import LoadOptions, TaskData
from bench.tasks.demo import Demo
from bench.tasks.encode import EncodedSplit, batch_for_training, encode_split
from bench.training import trainer
from bench.training.args import TrainArgs
from bench.training.checkpoint import load_tensors
from bench.training.trainer import TrainingPlan, TrainLog, scale_rate, train_model
from strategies.base import ExitModel, Recipe, Stage, State
from strategies.controls import FinetuneRecipe
from strategies.deebert import DeeBertRecipe, HighwayHead
from strategies.elbert import ElbertRecipe, SharedHead
from strategies.entropy import JointRecipe, LinearHead

QUIET = Progress(quiet=True)
LAYERS = 3
ARGS = TrainArgs(steps=6, lr=1e-3, batch_size=8)


@pytest.fixture(scope="module")
def data() -> TaskData:
    return Demo().load(LoadOptions(limit=80))


def setting(
    data: TaskData,
    folder: Path,
    args: TrainArgs = ARGS,
    *,
    head: type = LinearHead,
    recipe: type[Recipe] = JointRecipe,
    seed: int = 0,
    dropout: float = 0.1,
) -> tuple[ExitModel, Recipe, TrainingPlan]:
    """A fresh little BERT, a recipe, and what it is to be fitted on."""
    shape = {"num_hidden_layers": LAYERS, "hidden_size": 32, "hidden_dropout_prob": dropout, "classifier_dropout": 0.0}
    loaded = load_backbone(BackboneRequest("bert-demo", "scratch", shape), data.train.first, seed=seed)
    torch.manual_seed(seed)
    model = ExitModel(loaded.encoder, head(loaded.encoder, 2))
    encoded = encode_split(data.train, loaded.tokenizer, 48)
    plan = TrainingPlan(
        encoded, data.train.labels, args, "fp32", seed, torch.device("cpu"), folder / "progress.safetensors"
    )
    return model, recipe(LAYERS), plan


def weights(model: ExitModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Stopped(Exception):
    """What interrupts a training in these tests."""


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before(data: TaskData, tmp_path: Path) -> None:
    found = []
    for drawn in (1, 5):
        model, recipe, plan = setting(data, tmp_path)
        torch.rand(drawn)
        state = torch.get_rng_state()
        train_model(model, recipe, plan, QUIET)
        assert torch.equal(torch.get_rng_state(), state)
        found.append(weights(model))
    assert same(*found)
    model, recipe, plan = setting(data, tmp_path, seed=1)
    train_model(model, recipe, plan, QUIET)
    assert not same(found[0], weights(model))


@pytest.mark.parametrize("recipe", [JointRecipe, ElbertRecipe, DeeBertRecipe])
@pytest.mark.parametrize("stop", [1, 4, 5, 6, 8, 11])
def test_resumed_training_is_bit_identical(
    recipe: type[Recipe], stop: int, data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, so that the random state matters; stopped before the given step, over both stages."""
    head = SharedHead if recipe is ElbertRecipe else HighwayHead
    model, rule, plan = setting(data, tmp_path / "whole", head=head, recipe=recipe)
    log = train_model(model, rule, plan, QUIET)
    expected, steps = weights(model), sum(log.steps.values())
    stop = min(stop, steps - 1)

    update, done = trainer._Stage._update, 0

    def stopping(self: trainer._Stage, *arguments: object) -> float:
        nonlocal done
        if done == stop:
            raise Stopped
        done += 1
        return update(self, *arguments)  # type: ignore[arg-type]

    model, rule, plan = setting(data, tmp_path / "stopped", head=head, recipe=recipe)
    plan = replace(plan, save_every=0.0)
    monkeypatch.setattr(trainer._Stage, "_update", stopping)
    with pytest.raises(Stopped):
        train_model(model, rule, plan, QUIET)
    monkeypatch.setattr(trainer._Stage, "_update", update)
    model, rule, _ = setting(data, tmp_path / "other", head=head, recipe=recipe, seed=7)  # all is overwritten
    said = StringIO()
    again = train_model(model, rule, plan, Progress(said))
    first, whole = next(iter(log.steps.values())), len(log.steps) == 1
    step, number = (stop, 1) if whole or stop < first else (stop - first, 2)
    where = f"step {step} of {list(log.steps.values())[number - 1]}" + ("" if whole else f" of stage {number}")
    assert f"Training resumes at {where}.\n" in said.getvalue()
    assert same(weights(model), expected)
    assert (again.stages, again.steps, again.recipe, again.resumed) == (log.stages, log.steps, log.recipe, 1)


def test_progress_is_saved_now_and_then_only(data: TaskData, tmp_path: Path) -> None:
    model, recipe, plan = setting(data, tmp_path)
    train_model(model, recipe, plan, QUIET)
    assert not plan.progress_file.exists()
    train_model(model, recipe, replace(plan, save_every=0.0), QUIET)
    tensors, facts = load_tensors(plan.progress_file)
    assert isinstance(facts, dict)
    assert (facts["stage"], facts["step"], len(facts["log"]["losses"])) == (0, 5, 5)
    assert {name.partition(".")[0] for name in tensors} == {"model", "optimizer", "random"}


@pytest.mark.parametrize("samples", [16, 11])
def test_accumulation_equals_the_bigger_batch(samples: int, data: TaskData, tmp_path: Path) -> None:
    """8 rows and the rest, which may be fewer, against all at once; the order of rows is the sampler's own business."""
    found = []
    for rows in ([np.arange(8), np.arange(8, samples)], [np.arange(samples)]):
        args = TrainArgs(steps=1, lr=1e-2, batch_size=8, warmup=0.0)
        model, recipe, plan = setting(data, tmp_path, args, dropout=0.0)
        stage = trainer._Stage(model, recipe, recipe.stages[0], 0, plan, TrainLog())
        loss = stage._update(0, rows)
        found.append((loss, weights(model)))
    (loss, small), (whole, big) = found
    assert loss == pytest.approx(whole, rel=1e-5)
    # Adam's first step is lr times the gradient's sign, so only gradients that are noise may differ by much
    differ = [float((small[name] - big[name]).abs().gt(1e-4).float().mean()) for name in big]
    assert max(differ) < 0.01


def test_accumulated_steps_cover_the_epoch(data: TaskData, tmp_path: Path) -> None:
    args = TrainArgs(epochs=2, batch_size=8, accumulate=4)
    model, recipe, plan = setting(data, tmp_path, args)
    stage = trainer._Stage(model, recipe, recipe.stages[0], 0, plan, TrainLog())
    assert (len(plan.data), stage.steps) == (72, 2 * 3)  # 9 batches an epoch: 4, 4 and 1
    rows = [[len(batch) for batch in batches] for _, batches in stage._steps(0)]
    assert rows == [[8] * 4, [8] * 4, [8]] * 2
    seen = np.concatenate([row for _, batches in stage._steps(3) for row in batches])
    assert sorted(seen.tolist()) == list(range(72))
    assert [step for step, _ in stage._steps(4)] == [4, 5]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (TrainArgs(steps=4, lr=1.0, warmup=0.0), [1.0, 0.75, 0.5, 0.25]),
        (TrainArgs(steps=4, lr=1.0, warmup=0.5), [1 / 3, 2 / 3, 1.0, 0.5]),
        (TrainArgs(steps=4, lr=1.0, warmup_steps=1), [0.5, 1.0, 2 / 3, 1 / 3]),
    ],
)
def test_learning_rates(args: TrainArgs, expected: list[float], data: TaskData, tmp_path: Path) -> None:
    """Of the weights; the recipe's own parameters keep their constant rate."""
    model, recipe, plan = setting(data, tmp_path, args, head=SharedHead, recipe=ElbertRecipe)
    stage = trainer._Stage(model, recipe, recipe.stages[0], 0, plan, TrainLog())
    rates, own = [], []
    for step, batches in stage._steps(0):
        stage._update(step, batches)
        groups = stage.optimizer.param_groups
        rates.append(groups[0]["lr"])
        own.append(groups[-1]["lr"])
    assert rates == pytest.approx(expected)
    assert own == [recipe.own_lr] * 4


def test_schedule_ends_at_zero_and_never_below() -> None:
    values = [scale_rate(step, 2, 10) for step in range(12)]
    assert values[2] == max(values) == 1.0
    assert values[10:] == [0.0, 0.0]


def test_biases_and_norms_do_not_decay(data: TaskData, tmp_path: Path) -> None:
    model, recipe, plan = setting(data, tmp_path)
    stage = trainer._Stage(model, recipe, recipe.stages[0], 0, plan, TrainLog())
    decay = {id(p): group["weight_decay"] for group in stage.optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        plain = name.endswith("bias") or "LayerNorm" in name
        if id(parameter) in decay:
            assert decay[id(parameter)] == (0.0 if plain else ARGS.weight_decay), name
    assert set(decay.values()) == {0.0, 0.01}


def test_gradients_are_clipped(data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    clip = torch.nn.utils.clip_grad_norm_

    def noting(parameters: list[torch.nn.Parameter], limit: float) -> Tensor:
        before = clip(parameters, limit)
        norms.append(float(clip(parameters, float("inf"))))
        return before

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", noting)
    model, recipe, plan = setting(data, tmp_path, replace(ARGS, clip=0.01))
    train_model(model, recipe, plan, QUIET)
    assert len(norms) == 6
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_frozen_stages_leave_everything_else_alone(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, recipe, plan = setting(data, tmp_path, head=HighwayHead, recipe=DeeBertRecipe)
    between: dict[str, Tensor] = {}
    save = trainer._Stage._save

    def noting(self: trainer._Stage, stage: int, step: int) -> None:
        between.update(weights(self.model))
        save(self, stage, step)

    monkeypatch.setattr(trainer._Stage, "_save", noting)
    before = weights(model)
    log = train_model(model, recipe, plan, QUIET)
    after = weights(model)
    early = {n for n in after if n.startswith("head.") and f".{LAYERS - 1}." not in n}
    moved = {n for n in after if not torch.equal(between[n], before[n])}
    assert moved
    assert not moved & early
    assert {n for n in after if not torch.equal(after[n], between[n])} == early
    assert log.steps == {"fine-tune": 6, "exits": 6}
    assert all(p.requires_grad for p in model.parameters())
    assert not model.training


def test_only_the_last_exit_is_trained_by_fine_tuning(data: TaskData, tmp_path: Path) -> None:
    model, recipe, plan = setting(data, tmp_path, recipe=FinetuneRecipe)
    before = weights(model)
    train_model(model, recipe, plan, QUIET)
    moved = {n for n, value in weights(model).items() if n.startswith("head.") and not torch.equal(value, before[n])}
    assert moved == {n for n in before if n.startswith("head.") and f".{LAYERS - 1}." in n}


def test_elberts_weights_move_and_sum_to_the_number_of_layers(data: TaskData, tmp_path: Path) -> None:
    model, recipe, plan = setting(data, tmp_path, head=SharedHead, recipe=ElbertRecipe)
    (start,) = recipe.report().values()
    log = train_model(model, recipe, plan, QUIET)
    (learned,) = log.recipe.values()
    assert len(learned) == LAYERS
    assert sum(learned) == pytest.approx(LAYERS, abs=5e-5 * LAYERS)  # each is rounded to four places
    assert max(abs(a - b) for a, b in zip(learned, start, strict=True)) > 1e-4


def test_a_stage_may_have_epochs_and_a_rate_of_its_own(data: TaskData, tmp_path: Path) -> None:
    class TwoStages(JointRecipe):
        stages = (Stage("long", epochs=2), Stage("gentle", lr_scale=0.1, epochs=1))

    model, recipe, plan = setting(data, tmp_path, TrainArgs(epochs=5, lr=1.0, batch_size=8), recipe=TwoStages)
    stages = [trainer._Stage(model, recipe, s, n, plan, TrainLog()) for n, s in enumerate(recipe.stages)]
    assert [s.steps for s in stages] == [18, 9]
    assert [s.lr for s in stages] == pytest.approx([1.0, 0.1])


@pytest.mark.parametrize(("room", "most"), [(5, 4), (3, 2), (1, 1)])
def test_without_memory_a_batch_is_taken_in_halves(
    room: int, most: int, data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 8 samples at once as many as fit into ``room``: 4, 2 or 1; the loss is that of the whole batch."""
    logits = trainer.compute_stage_logits

    def guarded(model: ExitModel, recipe: Recipe, stage: Stage, batch: Batch) -> tuple[State, list[Tensor]]:
        if len(batch.input_ids) > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return logits(model, recipe, stage, batch)

    found = []
    for guard in (logits, guarded):
        monkeypatch.setattr(trainer, "compute_stage_logits", guard)
        model, recipe, plan = setting(data, tmp_path, TrainArgs(steps=3, batch_size=8), dropout=0.0)
        log = TrainLog()
        stage = trainer._Stage(model, recipe, recipe.stages[0], 0, plan, log)
        found.append([stage._update(step, rows) for step, rows in stage._steps(0)])
    assert log.micro_batch == most
    assert found[1] == pytest.approx(found[0], rel=1e-4)


@pytest.mark.parametrize(
    ("epochs", "batch_size", "accumulate", "steps"),
    [
        (0.5, 8, 1, 5),  # 72 samples are 9 batches, half of them 4.5
        (1, 16, 1, 5),  # 4.5 batches
        (1, 16, 2, 3),  # of 5 batches, two a step
        (0.001, 8, 1, 1),
        (1.5, 8, 2, 8),  # 5 steps an epoch
    ],
)
def test_a_part_of_a_step_is_a_step(
    epochs: float, batch_size: int, accumulate: int, steps: int, data: TaskData, tmp_path: Path
) -> None:
    args = TrainArgs(epochs=epochs, batch_size=batch_size, accumulate=accumulate)
    model, recipe, plan = setting(data, tmp_path, args)
    assert trainer._Stage(model, recipe, recipe.stages[0], 0, plan, TrainLog()).steps == steps


def test_a_loss_that_is_not_finite_stops(data: TaskData, tmp_path: Path) -> None:
    class Infinite(JointRecipe):
        def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
            return tuple(z.sum() * float("inf") for z in logits)

    model, recipe, plan = setting(data, tmp_path, recipe=Infinite)
    with pytest.raises(UsageError, match=r"The training loss is nan at step 0: take a smaller train\.lr"):
        train_model(model, recipe, plan, QUIET)


def test_bf16_autocast_keeps_the_weights_in_float32(data: TaskData, tmp_path: Path) -> None:
    model, recipe, plan = setting(data, tmp_path, replace(ARGS, steps=2))
    train_model(model, recipe, replace(plan, precision="bf16"), QUIET)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_logits_have_the_precision_of_training(
    precision: str, dtype: torch.dtype, data: TaskData, tmp_path: Path
) -> None:
    seen = set()

    class Noting(JointRecipe):
        def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
            seen.update(z.dtype for z in logits)
            return super().losses(stage, logits, labels, step)

    model, recipe, plan = setting(data, tmp_path, replace(ARGS, steps=1), recipe=Noting)
    train_model(model, recipe, replace(plan, precision=precision), QUIET)
    assert seen == {dtype}


@pytest.mark.slow
def test_it_learns(tmp_path: Path) -> None:
    """On 600 demo sentences the loss falls and the last exit beats chance on other sentences."""
    data = Demo().load(LoadOptions(limit=600))
    args = TrainArgs(steps=300, lr=2e-3, batch_size=32)
    model, recipe, plan = setting(data, tmp_path, args, dropout=0.0)
    log = train_model(model, recipe, plan, QUIET)
    losses = log.stages["train"]
    assert losses[-1] < 0.7 * losses[0]
    loaded = load_backbone(BackboneRequest("bert-demo"), data.train.first)
    split = data.evaluation["evaluation"]
    encoded = encode_split(split, loaded.tokenizer, 48)
    found = record_exits(model.eval(), split, encoded, QUIET)
    assert (found.predictions[:, -1] == split.labels).mean() > 0.6


@pytest.mark.parametrize("seed", [0, 1, 7])
@pytest.mark.parametrize("limit", [80, 86])
def test_the_order_of_samples_follows_seed_and_epoch_and_leaves_nobody_out(
    seed: int, limit: int, data: TaskData, tmp_path: Path
) -> None:
    """72 samples are nine whole batches, 77 nine and a smaller one."""
    some = Demo().load(LoadOptions(limit=limit))
    model, recipe, plan = setting(some, tmp_path, TrainArgs(epochs=2, batch_size=8), seed=seed)
    stage = trainer._Stage(model, recipe, recipe.stages[0], 0, plan, TrainLog())
    orders = [batches for _, batches in stage._steps(0)]
    per_epoch = -(-len(plan.data) // 8)
    assert len(orders) == stage.steps == 2 * per_epoch
    for epoch in (0, 1):
        expected = batch_for_training(plan.data.lengths, 8, seed, epoch)
        found = [batch for batches in orders[epoch * per_epoch : (epoch + 1) * per_epoch] for batch in batches]
        assert [rows.tolist() for rows in found] == [rows.tolist() for rows in expected]
        assert sorted(np.concatenate(found).tolist()) == list(range(len(plan.data)))
    other = batch_for_training(plan.data.lengths, 8, seed + 1, 0)
    assert [rows.tolist() for rows in orders[0]] != [other[0].tolist()]


def test_dropout_follows_the_seed_and_the_stage(data: TaskData, tmp_path: Path) -> None:
    """Samples that are all alike, from the same weights: only dropout can make two losses differ."""
    found = []
    for seed, number in ((0, 0), (2, 0), (0, 1), (0, 0)):
        model, recipe, plan = setting(data, tmp_path, TrainArgs(steps=1, batch_size=8), dropout=0.5)
        alike = EncodedSplit([plan.data.input_ids[0]] * 8, None, plan.data.lengths[[0] * 8], 0, plan.data.pad_id)
        plan = replace(plan, data=alike, labels=plan.labels[[0] * 8], seed=seed)
        stage = trainer._Stage(model, recipe, recipe.stages[0], number, plan, TrainLog())
        stage.run(None, QUIET)
        found.append(stage.losses[0])
    assert found[0] == found[3]
    assert len(set(found)) == 3
