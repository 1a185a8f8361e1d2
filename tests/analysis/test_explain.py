"""Rollout against a direct matrix product; one input exit by exit; typical cases; hostile text in every view."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from backbones import ENCODERS
from backbones.load import load_backbone
from bench.analysis.cases import OVERTHOUGHT, SIMPLE, choose_point, describe_absent, find_cases
from bench.analysis.explain import (
    Explanation,
    Text,
    describe_state,
    encode_text,
    explain_text,
    find_sample,
    format_score,
    record_attention,
    roll_out_attention,
    step_sample,
)
from bench.cell.reload import RunModel, load_run_model
from bench.cell.request import Context
from bench.errors import UsageError
from bench.inference.replay import replay
from bench.measure.curve import exit_layers
from bench.measure.exits import AllExits
from bench.progress import Progress
from bench.report.explain_view import build_step_chart, print_explanation, render_explanations, save_png
from bench.report.marks import Line, Reference
from bench.results.run import Run
from bench.results.spec import RunSpec
from bench.results.store import Store
from bench.tasks.base import Split, TaskData
from strategies.base import ExitModel
from strategies.elbert import MonotoneWindow, SharedHead
from tests.helpers.models.model_folders import ask, save_model, tokens_of
from tests.helpers.pages import HOSTILE, Reader
from tests.helpers.report_store import make_cell


@pytest.mark.parametrize(
    ("value", "shown"),
    [(-0.0, "0.000"), (-0.0001, "0.000"), (-1.0, "-1.000"), (-math.inf, "fires"), (math.inf, "never")],
)
def test_scores_as_they_are_shown(value: float, shown: str) -> None:
    assert format_score(value) == shown


def test_rollout_is_the_matrix_product_and_rows_sum_to_1() -> None:
    torch.manual_seed(0)
    maps = [torch.softmax(torch.randn(3, 5, 5), dim=-1) for _ in range(4)]
    found = roll_out_attention(maps)
    expected = np.eye(5)
    for layer, attention in enumerate(maps):
        expected = (0.5 * attention.double().numpy().mean(axis=0) + 0.5 * np.eye(5)) @ expected
        np.testing.assert_allclose(found[layer].numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(dim=-1).numpy(), 1.0, atol=1e-12)
    with pytest.raises(ValueError, match="at least one layer"):
        roll_out_attention([])


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_attention_of_every_layer_is_the_stock_models(tmp_path: Path, model_type: str) -> None:
    save_model(tmp_path, model_type)
    loaded = load_backbone(ask(tmp_path, attention="eager"))
    batch = tokens_of(loaded, "The cat sat on the mat.")
    with torch.inference_mode(), record_attention(loaded.encoder.model) as maps:
        loaded.encoder(batch)
    with torch.inference_mode():
        stock = loaded.encoder.model(batch.input_ids, token_type_ids=batch.token_type_ids, output_attentions=True)
    assert len(maps) == loaded.encoder.num_layers
    direct = torch.eye(maps[0].shape[-1], dtype=torch.float64)
    for mine, theirs in zip(maps, stock.attentions, strict=True):
        torch.testing.assert_close(mine, theirs)
        direct = (0.5 * theirs[0].double().mean(dim=0) + 0.5 * torch.eye(len(direct), dtype=torch.float64)) @ direct
    torch.testing.assert_close(roll_out_attention([m[0] for m in maps])[-1], direct, atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory) -> RunModel:
    """A random little model as if it came from a run."""
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, "albert")
    loaded = load_backbone(ask(folder, attention="eager"))
    torch.manual_seed(1)
    model = ExitModel(loaded.encoder, SharedHead(loaded.encoder, 2)).eval()
    rows = Split("evaluation", ("a", "b"), ("the cat", "the dog"), None, np.array([0, 1]), 2)
    labels = (HOSTILE["script"], HOSTILE["rtl"])
    data = TaskData(
        "made-up", "classification", labels, ("accuracy",), rows, rows, {"evaluation": rows}, "r", "made up"
    )
    spec = RunSpec("elbert-mono", "made-up", str(folder), "shared", "elbert")
    return RunModel(spec, data, model, MonotoneWindow(window=2), loaded.tokenizer, 24)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that reached 2x, and no loss only where nobody leaves early."""
    found = Run.load(make_cell(tmp_path_factory.mktemp("store")))
    cuts = {"2x": (0.5, 0.5), "no-loss": (-math.inf, None)}
    points = {p.rule: p for p in found.result().points}
    reached = [points[rule].model_copy(update={"cut": c, "threshold": t}) for rule, (c, t) in cuts.items()]
    result = found.result().model_copy(update={"points": (*reached, points["4x"])})
    return Run(found.folder, found.record.model_copy(update={"evaluation": {found.primary: result}}), found.name)


def test_an_explanation_agrees_with_replay(run: Run, little: RunModel) -> None:
    found = explain_text(run, little, Text("The cat sat", label=1), "2x")
    batch, tokens = encode_text(little, "The cat sat", None)
    with torch.inference_mode():
        logits = torch.stack(little.model(batch), dim=1).float()
    decided = replay("elbert-mono", logits, 0.5, window=2)
    assert found.layer == int(decided.layer[0])
    assert found.answer == found.labels[int(decided.prediction[0])]
    assert [s.score for s in found.steps] == pytest.approx(decided.scores[0].tolist())
    torch.testing.assert_close(torch.tensor([s.probabilities for s in found.steps]), torch.softmax(logits[0], -1))
    assert sum(s.leaves for s in found.steps) == 1
    assert len(found.attention) == little.model.num_layers
    assert [sum(row) for row in found.attention] == pytest.approx([1.0] * len(found.attention))
    assert "".join(t.before + t.text for t in tokens if not t.special) == " The cat sat"  # a blank after [CLS]
    own = {leaving.point: leaving.layer for leaving in found.leavings if leaving.own}
    assert own == {"2x": found.layer, "no-loss": little.model.num_layers}
    others = {leaving.criterion for leaving in found.leavings if not leaving.own}
    assert {"entropy", "patience", "elbert-label"} <= others
    assert not others & {"elbert-mono", "oracle-correct", "full"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("The cat sat", None),
        (
            "The xyzzy sat xyzzy",
            "does not know 2 of the 4 pieces of this text (xyzzy): its answer rests on the others.",
        ),
        ("xyzzy", "1 of the 1 pieces of this text (xyzzy): its answer says nothing of the text."),
    ],
)
def test_words_that_the_model_cannot_read_are_named(run: Run, little: RunModel, text: str, said: str | None) -> None:
    found = explain_text(run, little, Text(text), "2x")
    assert (found.note is None) == (said is None)
    out = Console(record=True, width=200)
    print_explanation(found, out)
    if said is not None:
        assert said in out.export_text()
        assert said in render_explanations([found], "run")


@pytest.mark.parametrize(
    ("text", "rule", "message"),
    [
        (Text(" "), None, "empty"),
        (Text("a", "b"), None, "takes one text"),
        (Text("a"), "9x", "no operating point '9x'.*2x, no-loss"),
    ],
)
def test_what_cannot_be_explained(run: Run, little: RunModel, text: Text, rule: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        explain_text(run, little, text, rule)


def test_points_and_samples_are_found(run: Run, little: RunModel) -> None:
    for rule, expected in ((None, ("no-loss", None, -math.inf)), ("2x", ("2x", 0.5, 0.5))):
        point = choose_point(run, rule)
        assert point is not None
        assert (point.rule, point.threshold, point.cut) == expected
    assert find_sample(little.data, "b")[1] == 1
    with pytest.raises(UsageError, match=r"No sample 'c'.*look like: a, b"):
        find_sample(little.data, "c")


def test_the_window_is_shown(little: RunModel) -> None:
    logits = torch.tensor([[1.0, 0.0], [1.5, 0.0], [2.0, 0.0]])
    steps = step_sample(little.criterion, logits, 0.01, ["x", "y"], 0)
    assert [s.leaves for s in steps] == [False, True, False]
    assert steps[1].score == -math.inf
    assert steps[0].state
    state = {"labels": torch.tensor([[-1, 0]]), "p": torch.tensor([[math.inf, 0.5]]), "keys": torch.tensor([7])}
    assert describe_state(state) == "labels · 0; p · 0.500"


def views(found: Explanation, tmp_path: Path) -> tuple[str, str]:
    out = Console(
        width=160, record=True, file=(tmp_path / "terminal.txt").open("w", encoding="utf-8", errors="replace")
    )
    print_explanation(found, out)
    save_png(found, tmp_path / "picture.png")
    return render_explanations([found], "run <b>"), out.export_text()


@pytest.mark.parametrize(
    ("width", "labels", "says", "not_shown"),
    [
        (180, ("negative", "positive"), ("p(negative)", "p(positive)", "state", "history"), ()),
        (80, ("negative", "positive"), ("p(negative)", "p(positive)"), ("the criterion's state",)),
        (80, tuple(f"class-{i}" for i in range(9)), ("answer", "p(answer)"), ("the criterion's state", "9 classes")),
    ],
)
def test_every_exit_is_one_line_with_whole_headers(
    width: int, labels: tuple[str, ...], says: tuple[str, ...], not_shown: tuple[str, ...],
    run: Run, little: RunModel, tmp_path: Path
) -> None:  # fmt: skip
    found = explain_text(run, little, Text("the soup was great ."))
    wide = [[0.5, 0.3, *[0.2 / 7] * 7][: len(labels)]] * len(found.steps)
    state = f"history {' '.join(['-1.234'] * 8)}"
    steps = [replace(s, probabilities=p, state=state, answer=labels[0]) for s, p in zip(found.steps, wide, strict=True)]
    out = Console(width=width, record=True, file=(tmp_path / "terminal.txt").open("w", encoding="utf-8"))
    print_explanation(replace(found, labels=list(labels), steps=steps), out)
    text = out.export_text()
    table = text[text.index("Exit by exit") : text.index("Where each criterion leaves")]
    header, rows = table.splitlines()[2], [line for line in table.splitlines() if line.startswith("│")]
    assert [int(row.split("│")[1]) for row in rows] == [step.layer for step in steps]
    assert all(word in header + rows[0] for word in says)
    assert [what for what in ("the criterion's state", "9 classes") if what in table] == list(not_shown)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_in_every_view(run: Run, little: RunModel, tmp_path: Path, name: str) -> None:
    text = HOSTILE[name].replace("\ud800", "")
    found = explain_text(run, little, Text(text, title=text, label=0))
    page, terminal = views(found, tmp_path)
    reader = Reader()
    reader.feed(page)
    assert not {"script", "img", "b"} & set(reader.tags)
    assert [n for n, _ in reader.attributes if n.startswith("on")] == []
    assert "<script>alert" not in page
    assert "Exit by exit" in terminal
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_pages_and_pictures_are_the_same_twice(run: Run, little: RunModel, tmp_path: Path) -> None:
    found = explain_text(run, little, Text("the dog, the cat; a bird"))
    assert render_explanations([found], "r") == render_explanations([found], "r")
    for name in ("a", "b"):
        save_png(found, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_picture_shows_every_exit_and_where_the_text_leaves(run: Run, little: RunModel) -> None:
    found = explain_text(run, little, Text("the dog"))
    chart = build_step_chart(found)
    lines = {mark.series: mark for mark in chart.marks if isinstance(mark, Line)}
    shown = np.array([lines[name].y for name in found.labels])
    assert np.allclose(shown.sum(axis=0), 1)
    assert shown.argmax(axis=0).tolist() == [found.labels.index(step.answer) for step in found.steps]
    assert list(lines[""].y) == [step.entropy for step in found.steps]
    assert [mark.start[0] for mark in chart.marks if isinstance(mark, Reference)] == [found.layer]


def test_cases_are_simple_and_overthought() -> None:
    right = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 0, 0], [0, 1, 0]])
    logits = np.zeros((5, 3, 2), dtype=np.float32)
    logits[..., 0] = np.where(right, 2.0, -2.0)
    logits[0, 0, 0] = 5.0
    scores = np.array([[0.1, 0.1, 0.1], [0.2, 0.1, 0.1], [0.9, 0.1, 0.1], [0.9, 0.9, 0.1], [0.9, 0.9, 0.1]])
    exits = AllExits(("v", "w", "x", "y", "z"), np.zeros(5, dtype=np.int64), logits, np.full(5, 7))
    found = [(c.kind, c.id, c.layer) for c in find_cases(exits, exit_layers(scores, 0.5), 5)]
    assert found == [(SIMPLE, "v", 1), (SIMPLE, "w", 1), (OVERTHOUGHT, "w", 1)]
    never = [(c.kind, c.id, c.layer) for c in find_cases(exits, np.full(5, 3), 5)]
    assert never == [(OVERTHOUGHT, "w", 1), (OVERTHOUGHT, "z", 2)]


@pytest.mark.parametrize(
    ("kinds", "absent"),
    [
        ((SIMPLE, OVERTHOUGHT), []),
        ((SIMPLE,), ["overthought"]),
        ((OVERTHOUGHT,), ["simple"]),
        ((), ["simple", "overthought"]),
    ],
)
def test_a_kind_of_case_that_is_absent_is_said(kinds: tuple[str, ...], absent: list[str]) -> None:
    said = describe_absent(kinds, 1000)
    assert [sentence.partition(":")[0] for sentence in said] == [f"None of 1,000 is {name}" for name in absent]


def test_a_checkpoint_that_is_gone_and_a_cell_that_failed(tmp_path: Path) -> None:
    context = Context(Store(tmp_path), Progress(quiet=True))
    good = Run.load(make_cell(tmp_path))
    bad = Run.load(make_cell(tmp_path, "entropy", status="error", error="no"))
    with pytest.raises(UsageError, match=r"is not in .*bench run .*--overwrite always"):
        load_run_model(good, context)
    with pytest.raises(UsageError, match="is not finished"):
        load_run_model(bad, context)


def test_options_exclude_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bench.cli.process import main

    assert main(["explain", "last", "--results-dir", str(tmp_path)]) == 2
    assert "one of --text, --sample, --cases and --against" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_is_explained_from_its_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bench.cli.process import main

    common = ["--results-dir", str(tmp_path / "r"), "--quiet"]
    small = ["--limit", "60", "--set", "train.steps=2", "--set", "window=2", "--no-latency"]
    assert main(["run", "--strategy", "elbert-mono", "--task", "demo", *small, *common]) == 0
    page = tmp_path / "e.html"
    asked = ["--text", "the soup was great .", "--html", str(page), "--png", str(tmp_path / "e.png")]
    assert main(["explain", "last", *asked, *common]) == 0
    assert "leaves at exit" in capsys.readouterr().out
    assert "soup" in page.read_text(encoding="utf-8")
    assert main(["explain", "last", "--cases", *common]) == 0
    sample = Store(tmp_path / "r").find_run("last").exits().ids[0]
    assert main(["explain", "last", "--sample", sample, *common]) == 0
