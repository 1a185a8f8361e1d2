"""Strategies of somebody else's whose parts misbehave: one line before anything is trained, and nothing is lost."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from bench.cli.process import main
from tests.helpers.small_runs import TINY, run_json

MODULE = '''
import torch
from strategies.base import Criterion, Stage, Strategy
from strategies.entropy import JointRecipe, LinearHead, NormalisedEntropy

class Judge(Criterion):
    def step(self, state, seen):
        return state, 1 - seen.logits.softmax(dim=-1).amax(dim=-1)

class {parts}

class Mine(Strategy):
    """Mine."""
    name, citation = "mine", "An example."
    head, recipe, criterion = {chosen}
'''

JUDGES = {
    "raises": ("def step(self, state, seen): raise ValueError('no\\nmore')",
               r"Module 'makers_parts' failed in makers_parts.py, line \d+: ValueError: no more\."),
    "ends the process": ("def step(self, state, seen): raise SystemExit(0)", "line .*: SystemExit: 0"),
    "fails in torch": ("def step(self, state, seen): return state, torch.ones(2) + torch.ones(3)",
                       "makers_parts.py, line .*: RuntimeError: The size of tensor a"),
    "gives nothing": ("def step(self, state, seen): pass", "step gives NoneType, not (state, scores)"),
    "gives scores alone": ("def step(self, state, seen): return seen.logits[:, 0]", "step gives Tensor"),
    "gives a table": ("def step(self, state, seen): return state, seen.logits",
                      "scores at exit 1 must be a tensor (4,), not (4, 2)"),
    "gives one score for all": ("def step(self, state, seen): return state, seen.logits.mean()", "(4,), not ()"),
    "gives a float": ("def step(self, state, seen): return state, 0.5", "(4,), not float"),
    "gives NaN": ("def step(self, state, seen): return state, seen.logits[:, 0] * torch.nan", "at exit 1 are NaN"),
    "has no state": ("def start(self, start): return None", "the state is NoneType, not a dict of tensors"),
    "has one state for all": ("def start(self, start): return {'n': torch.zeros(1)}", "state 'n' of 4 samples is (1,)"),
    "looks at its neighbours": ("def step(self, state, seen): return state, seen.logits[:, 0] - seen.logits.mean()",
                                "a sample's scores depend on the batch that it is in, or on chance"),
    "throws dice": ("def step(self, state, seen): return state, torch.rand(len(seen.logits))", "or on chance"),
    "changes the logits": ("def step(self, state, seen): return state, seen.logits.zero_()[:, 0]",
                           "step changes the logits that it is given"),
    "needs an argument": ("def __init__(self, x): pass", "missing 1 required positional argument: 'x'"),
    "warns of letters": ("def warnings(self, num_layers): return 'careful'", "warnings must be a list of texts"),
    "has no default": ("default_threshold = None", "the default_threshold must be a number, not None"),
    "cuts at nothing": ("def cut(self, threshold): return None", "cut of the default threshold must be a number"),
    "has a threshold that is none": ("def threshold(self, cut): return float('nan')", "must be a number, not nan"),
    "learns nothing": ("fits = True\n    def fit(self, evidence): return None", "fit must give a dict of names"),
    "counts in whole numbers": ("def step(self, state, seen): return state, seen.logits.argmax(dim=-1)",
                                "the scores at exit 1 must be .float(), not torch.int64"),
    "answers yes or no": ("def step(self, state, seen): return state, seen.logits[:, 0] > 0", "not torch.bool"),
    "leaves by a list": ("def leaves(self, score, cut): return [True] * len(score)", "leaves must give a bool tensor"),
    "is loosest at a word": ("loosest = 'x'", "the loosest must be a number, not 'x'"),
    "calls its threshold a number": ("threshold_name = 3", "the threshold_name must be of letters, digits"),
    "calls its threshold a colour": ("threshold_name = '\\x1b[31m'", "the threshold_name must be of letters, digits"),
    "costs half a product": ("def macs(self, outputs, layer): return 0.5", "exit 1: macs must be a whole number"),
    "costs less than nothing": ("def macs(self, outputs, layer): return -9", "that is not negative, not -9"),
    "changes the logits once fitted": (
        "fits = True\n    step = lambda self, state, seen: (state, seen.logits.zero_()[:, 0])",
        "step changes the logits that it is given"),
    "looks at its neighbours once fitted": (
        "fits = True\n    step = lambda self, state, seen: (state, seen.logits[:, 0] - seen.logits.sum())",
        "a sample's scores depend on the batch that it is in, or on chance"),
    "learns NaN": ("fits = True\n    def fit(self, evidence): return {'t': [torch.nan]}", "fit must give a dict"),
}  # fmt: skip
HEADS = {
    "raises": ("def forward(self, h, m, l): raise KeyError('pooler')", "KeyError: 'pooler' (makers_parts.py, line"),
    "needs less": ("def __init__(self): pass", "takes 1 positional argument but 3 were given"),
    "gives another width": ("def forward(self, h, m, l): return super().forward(h, m, l)[:, :1]",
                            "at exit 1: logits of 4 samples must be (4, 2), not (4, 1)"),
    "gives nothing": ("def forward(self, h, m, l): pass", "must be (4, 2), not NoneType"),
    "gives NaN": ("def forward(self, h, m, l): return super().forward(h, m, l) * torch.nan", "must be finite numbers"),
    "costs NaN": ("def macs(self, tokens, layer): return torch.nan", "macs must be a whole number"),
    "costs less than nothing": ("def macs(self, tokens, layer): return -1", "that is not negative, not -1"),
    "costs less than nothing for long texts": ("def macs(self, tokens, layer): return 64 - tokens", "not -64"),
    "changes the states": ("def forward(self, h, m, l): return super().forward(h.mul_(0.5), m, l)",
                           "Head 'Part' changes the hidden states that it is given"),
    "has no list of parameters": ("def exit_parameters(self, layer): return None", "exit_parameters must be"),
    "trains what is not its own": ("def exit_parameters(self, layer): return [torch.nn.Parameter(torch.ones(1))]",
                                   "exit_parameters must be parameters of the head"),
}  # fmt: skip
RECIPES = {
    "raises": ("def losses(self, stage, logits, labels, step): raise IndexError('x')", "IndexError: x (makers_"),
    "gives one tensor": ("def losses(self, stage, logits, labels, step): return logits[0].sum()",
                         "stage 'train': losses must be a tuple of tensors of one number each"),
    "gives floats": ("def losses(self, stage, logits, labels, step): return (1.0,)", "losses must be a tuple"),
    "gives vectors": ("def losses(self, stage, logits, labels, step): return (logits[0][:, 0],)", "losses must be"),
    "learns nothing": ("def losses(self, stage, logits, labels, step): return (logits[0].detach().sum(),)",
                       "no loss depends on the logits"),
    "has no stages": ("stages = ()", "stages must be a tuple of one or more Stage"),
    "has two stages of one name": ("stages = (Stage('a'), Stage('a', exits='early'))",
                                   "a stage's name must be another one than any other stage's, not 'a'"),
    "has a stage without a name": ("stages = (Stage(3),)", "a stage's name must be a text on one line, not 3"),
    "trains some exits": ("stages = (Stage('a', exits='some'),)", "exits must be one of all, last, early, not 'some'"),
    "trains at a word's rate": ("stages = (Stage('a', lr_scale='x'),)", "lr_scale must be a positive number, not 'x'"),
    "trains for less than nothing": ("stages = (Stage('a', epochs=-3),)", "epochs must be None or at least 1, not -3"),
    "has no nodes": ("def nodes(self, states): return 3", "nodes must give the same numbers as the states"),
    "has other nodes": ("def nodes(self, states): return [2 * s for s in states]", "nodes must give the same numbers"),
    "has too few nodes": ("def nodes(self, states): return states[1:]", "nodes must give the same numbers"),
    "has stages by name": ("stages = ('train',)", "stages must be a tuple of one or more Stage"),
}  # fmt: skip
CASES = [
    *(("criterion", case, *found) for case, found in JUDGES.items()),
    *(("head", case, *found) for case, found in HEADS.items()),
    *(("recipe", case, *found) for case, found in RECIPES.items()),
]
BASES = {"criterion": "Judge", "head": "LinearHead", "recipe": "JointRecipe"}


def write_module(folder: Path, kind: str, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module makers_parts whose strategy's part of this ``kind`` has the ``body``."""
    chosen = {"head": "LinearHead", "recipe": "JointRecipe", "criterion": "Judge", kind: "Part"}
    parts = f"Part({BASES[kind]}):\n    {body}"
    text = MODULE.format(parts=parts, chosen=f"{chosen['head']}, {chosen['recipe']}, {chosen['criterion']}")
    (folder / "makers_parts.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "makers_parts", raising=False)


def ask(results: Path) -> list[str]:
    words = ["--strategy", "makers_parts:Mine", "--task", "demo", "--limit", "64", "--backbone", "bert-demo"]
    return [*words, *TINY, "--results-dir", str(results)]


@pytest.mark.parametrize(("kind", "case", "body", "said"), CASES, ids=[f"{kind} {case}" for kind, case, *_ in CASES])
def test_what_a_part_may_not_give(
    kind: str,
    case: str,
    body: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_module(tmp_path, kind, body, monkeypatch)
    assert main(["run", *ask(tmp_path / "results")]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("Error: ")
    assert said in line or re.search(said, line), line
    weights = list((tmp_path / "results").rglob("model.safetensors"))
    assert bool(weights) == ("fits = True" in body)  # nothing was trained but for what can be seen after it only
    states = [json.loads(p.read_text(encoding="utf-8"))["status"] for p in (tmp_path / "results").rglob("record.json")]
    # a criterion that cannot be made is refused before there is a cell: its arguments are a part of the cell's name
    assert states == ([] if (kind, case) == ("criterion", "needs an argument") else ["error"])


def test_the_makers_traceback_is_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_module(tmp_path, "criterion", JUDGES["fails in torch"][0], monkeypatch)
    assert main(["run", *ask(tmp_path / "results")]) == 2
    [record] = (tmp_path / "results").rglob("record.json")
    error = json.loads(record.read_text(encoding="utf-8"))["error"]
    assert error["kind"] == "user"
    assert "return state, torch.ones(2) + torch.ones(3)" in error["traceback"]


@pytest.mark.parametrize("report", ["{'x': [torch.nan]}", "None", "{'x': 1.0}"])
def test_a_report_that_no_record_can_hold_loses_no_training(
    report: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_module(tmp_path, "recipe", f"def report(self): return {report}", monkeypatch)
    assert main(["run", *ask(tmp_path / "results")]) == 0
    said = capsys.readouterr().err
    assert "report must give a dict of names to lists of finite numbers" in said
    assert "It is left out of the record." in said


def test_whole_parts_are_taken_and_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A strategy that is made of ours under other names trains the same weights and decides the same."""
    write_module(tmp_path, "criterion", "step = NormalisedEntropy.step", monkeypatch)
    [mine] = run_json(capsys, *ask(tmp_path / "results"))
    ours = [word.replace("makers_parts:Mine", "entropy") for word in ask(tmp_path / "ours")]
    [entropy] = run_json(capsys, *ours)
    [curves, others] = [[split["curve"] for split in f["record"]["evaluation"].values()] for f in (mine, entropy)]
    assert curves == others


TASK = """
import numpy as np
from pathlib import Path
from bench.tasks.base import Split, Task, TaskData

class Mine(Task):
    name, default_backbone = "mine", "bert-demo"
    def load(self, options):
        words = Path(__file__).with_name("words.txt").read_text().split()
        def split(name, rows):
            texts = tuple(f"{words[i % 2]} {name} {i}" for i in range(rows))
            return Split(name, texts, texts, None, np.arange(rows) % 2, rows)
        return TaskData("mine", "classification", ("a", "b"), ("accuracy",), split("train", 32), split("select", 8),
                        {"validation": split("validation", 8)}, "v1", "words.txt")
"""


def test_a_task_with_other_rows_under_its_old_revision_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "makers_task.py").write_text(TASK, encoding="utf-8")
    (tmp_path / "words.txt").write_text("good bad", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    tiny = [word for word in TINY if word != "--quiet"]
    words = ["--strategy", "entropy", "--task", "makers_task:Mine", *tiny, "--results-dir", str(tmp_path / "results")]
    [first] = run_json(capsys, *words)
    [again] = run_json(capsys, *words)
    assert again["record"]["created"] == first["record"]["created"]
    (tmp_path / "words.txt").write_text("good awful", encoding="utf-8")
    assert main(["run", *words, "--json"]) == 0
    printed = capsys.readouterr()
    [changed] = json.loads(printed.out)
    assert "The source of the data has changed since" in printed.err
    assert changed["record"]["training"]["reused"] is False
    assert changed["record"]["sources"]["data"] != first["record"]["sources"]["data"]
    assert changed["folder"] == first["folder"]
