"""Every bad input through the real command line: one line on stderr, exit code 2, no traceback."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.cli.process import main
from tests.helpers.models.model_folders import save_model
from tests.helpers.small_runs import TINY, settings, write_task

Arrange = Callable[[Path], list[str]]


def run(*options: str, strategy: str = "entropy", backbone: str = "bert-demo") -> Arrange:
    """``bench run`` on a good little task, with ``options``."""
    given = ["--strategy", strategy, "--backbone", backbone]
    return lambda tmp: ["run", "--task", str(write_task(tmp / "reviews")), *given, *options]


def run_on(task: str, *options: str, strategy: str = "entropy") -> Arrange:
    return lambda tmp: ["run", "--task", task, "--strategy", strategy, "--backbone", "bert-demo", *options]


def words(*arguments: str) -> Arrange:
    return lambda tmp: list(arguments)


def task_with(files: dict[str, bytes], *options: str, strategy: str = "entropy") -> Arrange:
    """``bench run`` on a task with some files replaced; an empty name is a file that is removed."""

    def arrange(tmp: Path) -> list[str]:
        folder = write_task(tmp / "reviews")
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return ["run", "--task", str(folder), "--strategy", strategy, "--backbone", "bert-demo", *options]

    return arrange


def model_with(damage: Callable[[Path], object], hub: bool = False) -> Arrange:
    """``bench run`` with a model folder that is not whole, given as a folder or found in a hub mirror."""

    def arrange(tmp: Path) -> list[str]:
        folder = tmp / "hub/models/google-bert/bert-base-uncased"
        save_model(folder)
        damage(folder)
        task = ["--task", str(write_task(tmp / "reviews")), "--strategy", "entropy"]
        where = ["bert-base", "--hub-root", str(tmp / "hub")] if hub else [str(folder)]
        return ["run", *task, "--backbone", *where]

    return arrange


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def unknown_type(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "xlnet"}))


def logits_file(strategy: str = "entropy", *options: str, **arrays: object) -> Arrange:
    """``bench replay`` on an .npz with ``arrays``."""

    def arrange(tmp: Path) -> list[str]:
        np.savez(tmp / "logits.npz", **{name: np.asarray(array) for name, array in arrays.items()})
        return ["replay", str(tmp / "logits.npz"), "--strategy", strategy, *options]

    return arrange


def file_of(name: str, content: bytes) -> Arrange:
    def arrange(tmp: Path) -> list[str]:
        (tmp / name).write_bytes(content)
        return ["replay", str(tmp / name), "--strategy", "entropy"]

    return arrange


def recorded(content: str) -> Arrange:
    """``bench show`` of a record with this content."""

    def arrange(tmp: Path) -> list[str]:
        (tmp / "run").mkdir()
        (tmp / "run/record.json").write_text(content)
        return ["show", str(tmp / "run")]

    return arrange


def occupied(*arguments: str) -> Arrange:
    """A command that is to write to ``taken``, where there is a file already, or into it."""

    def arrange(tmp: Path) -> list[str]:
        (tmp / "taken").write_text("")
        return [a.replace("REVIEWS", str(write_task(tmp / "reviews"))) for a in arguments]

    return arrange


def in_a_circle(tmp: Path) -> list[str]:
    """A results folder that is a link to itself."""
    (tmp / "circle").symlink_to("circle")
    return [*run()(tmp), "--results-dir", str(tmp / "circle")]


GOOD = np.zeros((4, 3, 2), dtype=np.float32)
NOT_FINITE = GOOD.copy()
NOT_FINITE[2, 1, 0] = np.nan

BAD: dict[str, tuple[Arrange, str]] = {
    # names, with what was meant
    "strategy": (run(strategy="elbrt-mono"), r"Unknown strategy 'elbrt-mono'\. Did you mean 'elbert-mono'\?$"),
    "task": (run_on("sst3"), r"Unknown task 'sst3'\. Did you mean 'sst2'\?$"),
    "backbone": (run(backbone="albert-bass"), r"Unknown backbone 'albert-bass'\. Did you mean 'albert-base'\?$"),
    "recipe": (run("--recipe", "join"), r"Unknown recipe 'join'\. Did you mean 'joint'\?$"),
    "head": (run("--head", "share"), r"Unknown head 'share'\. Did you mean 'shared'\?$"),
    "kind": (words("list", "strategie"), r"Unknown kind 'strategie'\. Did you mean 'strategies'\?$"),
    "no kind": (words("list"), r"^bench list takes one of strategies, heads, .*, runs\.$"),
    "a place to sync with": (run("--sync", " "), r"^--sync is empty: give the URL"),
    "results in a circle": (in_a_circle, r"circle is a link that leads nowhere, and results are kept in a folder\.$"),
    "shown strategy": (words("show", "strategy", "pabe"), r"Unknown strategy 'pabe'\. "),
    "replayed strategy": (logits_file("entropi", logits=GOOD), r"Unknown strategy 'entropi'\. Did you mean 'entropy'"),
    "nothing like it": (run(strategy="zzzz"), r"Unknown strategy 'zzzz'\. Known: beem, "),
    "command": (words("runn"), r"No such command 'runn'\. Did you mean 'run'\?"),
    "option": (run("--sed", "1"), r"No such option: --sed"),
    "no task": (words("run", "--strategy", "entropy"), r"^--strategy and --task are needed, or --config"),
    "module": (run(strategy="no.such:Rule"), r"Cannot import strategy 'no\.such:Rule': .* on PYTHONPATH\?$"),
    "not in module": (run(strategy="strategies.entropy:Entropi"), r"Unknown strategy in .*Did you mean 'Entropy'\?$"),
    "preset": (run("--preset", "papers"), r"Unknown preset 'papers'\. Known: paper\.$"),
    "no preset for the task": (
        run_on("demo", "--preset", "paper", strategy="elbert-mono"),
        r"no published hyper-parameters for task 'demo', only for cola, .*; leave --preset out\.$",
    ),
    "no preset": (run("--preset", "paper"), r"Strategy 'entropy' has no published hyper-parameters"),
    # --set
    "no equals sign": (run(*settings("window")), r"--set takes key=value, not 'window'\.$"),
    "no key": (run(*settings("=3")), r"--set takes key=value, not '=3'\.$"),
    "argument": (run(*settings("windw=3"), strategy="elbert-mono"), r"Unknown argument 'windw'.*mean 'window'\?$"),
    "no arguments": (
        run(*settings("window=3")),
        r"Unknown argument 'window' of strategy 'entropy'\. It has none|It has",
    ),
    "type": (run(*settings("window=six"), strategy="elbert-mono"), r"'window' of .* must be int, not 'six'\.$"),
    "whole": (run(*settings("window=2.5"), strategy="elbert-mono"), r"'window' of .* must be int, not '2\.5'\.$"),
    "prefix": (run(*settings("trian.steps=3")), r"Unknown setting 'trian\.steps'\. Did you mean 'train\.steps'\?$"),
    "train setting": (run(*settings("train.step=3")), r"Unknown setting 'train\.step'\. Known: "),
    "train type": (run(*settings("train.steps=many")), r"train\.steps must be int, not 'many'\.$"),
    "train range": (run(*settings("train.lr=0")), r"train\.lr must be positive, not 0"),
    "not a number": (run(*settings("train.lr=NaN")), r"--set train\.lr must be a finite number, not 'NaN'\.$"),
    "infinite": (run(*settings("train.clip=1e999")), r"--set train\.clip must be a finite number, not '1e999'\.$"),
    "precision": (run(*settings("train.precision=fp8")), r"train\.precision must be one of auto, fp32, bf16"),
    "latency setting": (run(*settings("latency.sample=3")), r"Unknown setting 'latency\.sample'\. Known: "),
    "head argument": (run(*settings("head.pooling=max")), r"'pooling' of head 'linear' must be one of cls, mean"),
    "recipe argument": (run(*settings("recipe.foo=1")), r"Unknown argument 'foo' of recipe 'joint'"),
    "backbone field": (run(*settings("backbone.hidden_sizes=8")), r"field 'hidden_sizes'\. Did you mean 'hidden_size'"),
    "backbone value": (run(*settings("backbone.num_attention_heads=3")), r"not a multiple of num_attention_heads 3"),
    "length": (run(*settings("max_length=2")), r"max_length must be at least 4, not 2\.$"),
    "length type": (run(*settings("max_length=long")), r"max_length must be a whole number, not 'long'\.$"),
    # numbers
    "seed": (
        run("--seed", "one"),
        r"--seed takes whole numbers separated by commas, and ranges such as 0-4, not 'one'\.$",
    ),
    "negative seed": (run("--seed=-1"), r"--seed must be in 0\.\.4294967295, not -1\.$"),
    "huge seed": (run("--seed", "0,4294967296"), r"--seed must be in .*, not 4294967296\.$"),
    "thresholds": (run("--thresholds", "0.1,x"), r"--thresholds takes auto or finite numbers .*, not '0\.1,x'\.$"),
    "NaN threshold": (run("--thresholds", "nan"), r"--thresholds takes auto or finite numbers .*, not 'nan'\.$"),
    "replay threshold": (logits_file("entropy", "--threshold", "inf", logits=GOOD), r"--threshold must be a finite"),
    "scale": (words("simulate", "--scale", "0"), r"--scale must be positive, not 0\.$"),
    "limit": (run("--limit", "3"), r"--limit must be at least 8, not 3"),
    "limit type": (run("--limit", "few"), r"Invalid value for '--limit'"),
    "dtype": (run("--dtype", "fp8"), r"Invalid value for '--dtype'"),
    "half on a CPU": (run("--dtype", "fp16", "--device", "cpu"), r"--dtype fp16 needs a GPU; on a CPU take fp32"),
    "device": (run("--device", "tpu"), r"Unknown device 'tpu'\. Known: auto, cpu, cuda\.$"),
    "no strategy": (run(strategy=","), r"--strategy is empty\.$"),
    # models
    "no weights": (model_with(without("model.safetensors")), r"has no weights: put model\.safetensors there.*scratch"),
    "no weights in the mirror": (model_with(without("model.safetensors"), hub=True), r"has no weights: put model"),
    "model type": (model_with(unknown_type), r"Unknown model type 'xlnet' in .*: known are albert, bert, deberta-v2"),
    "no tokenizer": (model_with(without("tokenizer.json")), r"has no tokenizer: one of tokenizer\.json, "),
    "no config": (model_with(without("config.json")), r"has no config\.json: it is not a model folder"),
    "model folder": (run(backbone="./nowhere"), r"There is no folder \./nowhere"),
    "not downloaded": (run("--offline", backbone="no-such-org/no-such-model"), r"not completely in the local cache"),
    "hub root": (run("--hub-root", "nowhere"), r"The hub mirror nowhere of --hub-root is not a folder\. Give"),
    # data
    "file for a folder": (
        lambda tmp: run_on(str(write_task(tmp / "reviews") / "train.csv"))(tmp),
        r"train\.csv' is a file\. Give the folder that it",
    ),
    "no folder": (run_on("./nowhere"), r"Task folder '\./nowhere' does not exist\. Give a folder with train"),
    "no text": (
        task_with({"train.csv": b"words,label\na,x\n"}),
        r"train\.csv: no column 'text' \(columns: label, words",
    ),
    "no label": (task_with({"validation.csv": b"text\na\n"}), r"validation\.csv: no column 'label' \(columns: text\)"),
    "label": (task_with({"validation.csv": b"text,label\na,pos\nb,neutral\n"}), r"csv, row 2: unknown label 'neutral'"),
    "class": (
        task_with({"labels.txt": b"neg\npos\n", "train.csv": b"text,label\na,0\nb,2\nc,1\n"}),
        r"train\.csv, row 2: unknown label '2' \(classes: neg, pos\)\. Correct it",
    ),
    "empty file": (task_with({"train.csv": b""}), r"train\.csv: the file is empty\. Give a header"),
    "no rows": (task_with({"validation.csv": b"text,label\n"}), r"validation\.csv: no .*rows"),
    "encoding": (task_with({"train.csv": b"text,label\ncaf\xe9,pos\n"}), r"train\.csv, line 2: not UTF-8\. Save"),
    "unlabelled": (task_with({"validation.csv": b"text,label\na,-1\nb,-1\n"}), r"every label is -1, so it has no"),
    "two of them": (task_with({"train.tsv": b"text\tlabel\n"}), r"both train\.csv and train\.tsv are there\. Keep one"),
    # recorded logits
    "no file": (words("replay", "nowhere.npz", "--strategy", "entropy"), r"There is no file nowhere\.npz\.$"),
    "suffix": (file_of("logits.txt", b"1 2"), r"logits\.txt must be \.npz or \.parquet\.$"),
    "no npz": (file_of("logits.npz", b"not a zip"), r"of plain arrays \(it is no zip file\)\.$"),
    "pickle": (logits_file(logits=np.array([{"a": 1}])), r"cannot be read as \.npz of plain arrays"),
    "no parquet": (file_of("exits.parquet", b"not parquet"), r"is not a Parquet file of exits"),
    "no logits": (logits_file(scores=GOOD), r"has no array 'logits' \(samples, exits, classes\); it has scores\.$"),
    "axes": (logits_file(logits=GOOD[0]), r"logits must be numbers \(samples, exits, classes\), not float32 \(3, 2\)"),
    "text logits": (logits_file(logits=GOOD.astype(str)), r"logits must be numbers"),
    "no samples": (logits_file(logits=GOOD[:0]), r"logits must be numbers .* \(0, 3, 2\)"),
    "labels": (logits_file(logits=GOOD, labels=[0, 1]), r"labels must be 4 numbers, not int64 \(2,\)\.$"),
    "labelled class": (
        logits_file(logits=GOOD, labels=[0, 1, 2, 0]),
        r"label 2 of row 3 is none of the classes 0\.\.1",
    ),
    "ids": (logits_file(logits=GOOD, ids=["a"]), r"1 ids for 4 samples\.$"),
    "NaN logits": (logits_file(logits=NOT_FINITE), r"Logits of sample 2 at exit 2 are not finite: \[nan, 0\.0\]"),
    "oracle": (logits_file("oracle-correct", logits=GOOD), r"is an oracle and needs the labels\.$"),
    "regression logits": (logits_file(logits=GOOD[:, :, :1]), r"cannot be used here: it needs class probabilities"),
    # combinations without sense
    "recipe of the last exit": (
        run("--recipe", "finetune"),
        r"Recipe 'finetune' trains the last exit only, and an untrained exit may not answer: take another --recipe",
    ),
    "recipe and head": (
        run("--recipe", "fastbert", strategy="elbert-mono"),
        r"Recipe 'fastbert' cannot be used with head 'shared': .*shares parameters between exits",
    ),
    # records
    "a strategy is no run": (
        words("show", "fastbert"),
        r"no run 'fastbert' and no results folder results\. .* shown by `bench show recipe fastbert`\.$",
    ),
    "no run": (words("show", "nothing"), r"no run 'nothing' and no results folder results\.$"),
    "damaged record": (recorded("{"), r"record\.json is damaged \(.*\)\. Delete it and run the cell again\.$"),
    "not a record": (recorded("[1]"), r"record\.json is damaged \(it is a list, an object is needed\)\. Delete it"),
    "newer record": (
        recorded('{"schema_version": 99}'),
        r"was written by a newer ExitBench \(schema_version is 99, this one knows 2\): upgrade exitbench\.$",
    ),
    # places to write to
    "results in a file": (
        occupied("run", "--task", "REVIEWS", "--strategy", "full", "--backbone", "bert-demo", "--results-dir", "taken"),
        r"^taken is a file, and results are kept in a folder\.$",
    ),
    "what to show": (
        words("show", "a", "b"),
        r"Unknown kind 'a'\. Known: backbone, head, paper, recipe, strategy, task\.$",
    ),
}


def error_of(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """What is said of the first word on: the one line, without ``Error: ``."""
    capsys.readouterr()  # transformers may have said that it saved a model for the test
    code = main(arguments)
    printed = capsys.readouterr()
    assert code == 2, printed.err
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("Error: ")
    return lines[0].removeprefix("Error: ")


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, and no settings of the user's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EXITBENCH_HUB", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # so that what --offline sets is taken back
    return tmp_path


@pytest.mark.parametrize("case", BAD)
def test_one_line_and_exit_code_2(case: str, at_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrange, message = BAD[case]
    arguments = arrange(at_home)
    if arguments[0] == "run":
        arguments.append("--quiet")
    assert re.search(message, error_of(capsys, arguments))


def test_cuda_where_there_is_none(
    at_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = error_of(capsys, [*run("--device", "cuda")(at_home), "--quiet"])
    assert found.startswith("--device cuda: torch finds no GPU here. `bench doctor` says more")


@pytest.mark.parametrize("strategy", ["elbert-mono", "entropy"])
def test_regression_is_refused_with_the_reason(
    strategy: str, at_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(at_home / "grades", regression=True)
    found = error_of(capsys, ["run", "--task", str(task), "--strategy", strategy, "--backbone", "bert-demo", "--quiet"])
    assert found == (
        f"Strategy '{strategy}' cannot be used for task 'grades': "
        "it needs class probabilities, and a regression task has none."
    )


def poisoned_model(folder: Path, word: str) -> None:
    """A model whose embedding of ``word`` is not a number: fine until a text has it."""
    save_model(folder)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][vocabulary[word]] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_logits_that_are_not_finite_name_sample_and_exit(at_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    poisoned_model(at_home / "model", "bird")
    task = at_home / "animals"
    task.mkdir()
    lines = [f"the cat sat on {i} mats,a\nthe dog sat on {i} mats,b" for i in range(16)]
    (task / "train.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    (task / "validation.csv").write_text("text,label\nthe cat,a\nthe dog,b\nthe bird,b\n")
    given = ["run", "--task", str(task), "--strategy", "entropy", "--backbone", str(at_home / "model"), *TINY[-3:]]
    found = error_of(capsys, [*given, *settings("train.steps=2")])
    assert found == "Logits of sample validation-2 at exit 1 are not finite: [nan, nan]."


def test_a_loss_that_is_not_finite_is_the_users_to_mend(at_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    poisoned_model(at_home / "model", "the")
    found = error_of(capsys, [*run(backbone=str(at_home / "model"))(at_home), *settings("train.steps=2"), "--quiet"])
    assert found == "The training loss is nan at step 0: take a smaller train.lr, or other weights."


def test_of_several_cells_the_good_ones_are_kept(at_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = write_task(at_home / "reviews"), write_task(at_home / "broken")
    (bad / "train.csv").write_text("")
    code = main(["run", "--task", f"{bad},{good}", "--strategy", "full", "--backbone", "bert-demo", "--json", *TINY])
    printed = capsys.readouterr()
    assert code == 5
    broken, found = json.loads(printed.out)
    assert broken["cell"] == "full, broken, bert-demo, seed 0"
    assert "the file is empty" in broken["error"]
    assert found["record"]["spec"]["task"] == "reviews"
    assert printed.err.splitlines()[-1].startswith("Error: 1 of 2 cells failed: full, ")


def test_a_mistake_in_the_last_cell_is_told_before_the_first_runs(
    at_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = run("--quiet", strategy="full,elbert-mono")(at_home)
    assert "Unknown argument" in error_of(capsys, [*arguments, *settings("window=3")])
    assert not (at_home / "results").exists()


def test_our_own_mistakes_show_where(
    at_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("bench.cli.verbs.list.make_console", broken)
    assert main(["list", "tasks"]) == 1
    printed = capsys.readouterr()
    assert "Traceback" in printed.err
    assert "Internal error: RuntimeError('a bug')" in printed.err


def test_interruption_has_its_own_code(
    at_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.cli.verbs.list.make_console", stopped)
    assert main(["list", "tasks"]) == 130
    assert capsys.readouterr().err.startswith("Interrupted.")


def test_a_real_process_says_the_same(at_home: Path) -> None:
    command = [sys.executable, "-m", "bench", "run", "--strategy", "elbrt-mono", "--task", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: Unknown strategy 'elbrt-mono'. Did you mean 'elbert-mono'?\n"
