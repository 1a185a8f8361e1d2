"""The code blocks of CONTRIBUTING.md, exactly as they are printed there."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

import backbones
from backbones.base import Batch
from backbones.load import BackboneRequest, load_backbone
from bench.cli.process import main
from strategies import STRATEGIES
from tests.helpers.models.model_folders import SMALL, TEXTS
from tests.helpers.small_runs import TINY, run_json, write_task

GUIDE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
MODULES = {re.match(r"# (\w+)\.py\n", code)[1]: code for code in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)}  # type: ignore[index]
(DECLARATION,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)


def test_the_folders_to_open_are_there() -> None:
    """A path is from the root, from bench/, or from a folder that its row named before."""
    root = Path(__file__).parents[2]
    rows = [
        line for line in GUIDE.partition("## Which folder to open")[2].partition("\n## ")[0].splitlines()[4:] if line
    ]
    table = [row for row in rows if row.startswith("| ")]
    assert len(table) == 10
    for row in table:
        places, named = (
            [root, root / "bench"],
            [name for name in re.findall(r"`([^`]+)`", row) if re.search(r"/|\.py$", name)],
        )
        assert named, row
        for name in named:
            found = [place / name for place in places if (place / name).exists()]
            assert found, f"{name} in {row}"
            places.append(found[0] if found[0].is_dir() else found[0].parent)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with the guide's modules in it."""
    for name, code in MODULES.items():
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    for name in MODULES:
        sys.modules.pop(name, None)


def test_the_guide_has_an_example_of_each() -> None:
    assert set(MODULES) == {"my_margin", "my_task", "my_ernie"}
    code = [line for line in MODULES["my_margin"].splitlines() if line.strip()]
    assert len(code) <= 20


def test_a_strategy_by_module_and_name(modules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = write_task(modules / "reviews")
    given = ["--strategy", "my_margin:Margin", "--task", str(task), "--backbone", "bert-demo", *TINY]
    (found,) = run_json(capsys, *given)
    record = found["record"]
    assert record["spec"]["strategy"] == "my_margin:Margin"
    assert (record["spec"]["head"], record["spec"]["recipe"]) == ("linear", "joint")
    assert record["live_check"]["other_exit"] == record["live_check"]["other_prediction"] == 0
    # for two classes the margin and the entropy order samples alike
    (usual,) = run_json(capsys, "--strategy", "entropy", *given[2:])
    assert usual["record"]["training"]["reused"]
    ours, theirs = (f["record"]["evaluation"]["validation"]["curve_rows"] for f in (found, usual))
    assert ours == pytest.approx(theirs, abs=2)


def test_a_strategy_by_entry_point(modules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    group = re.search(r'entry-points\."([\w.]+)"\]\n(.*)', DECLARATION)
    assert group is not None
    info = modules / "my_margin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-margin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group[1]}]\n{group[2].replace(chr(34), '')}\n")
    importlib.invalidate_caches()
    assert "my-margin" in STRATEGIES
    assert main(["list", "strategies", "--json"]) == 0
    listed = {row["name"]: row["what"] for row in json.loads(capsys.readouterr().out)}
    assert listed["my-margin"] == "Margin: leave when the two most probable classes are far apart."
    task = write_task(modules / "reviews")
    (found,) = run_json(capsys, "--strategy", "my-margin", "--task", str(task), "--backbone", "bert-demo", *TINY)
    assert found["record"]["spec"]["strategy"] == "my-margin"


def test_a_task(modules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = run_json(capsys, "--strategy", "entropy", "--task", "my_task:Parity", *TINY)
    facts = found["record"]["task"]
    assert (facts["name"], facts["labels"], facts["revision"]) == ("parity", ["even", "odd"], "v1")
    assert {name: row["used"] for name, row in facts["rows"].items()} == {"train": 180, "select": 20, "validation": 64}


def test_a_backbone(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backbones.demo_tokenizer import make_word_tokenizer

    monkeypatch.setitem(backbones.ENCODERS.table, "ernie", "my_ernie:ErnieEncoder")
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model("ernie", **SMALL, use_task_id=True)
    model = transformers.ErnieModel(config).eval()
    model.save_pretrained(modules / "model")
    make_word_tokenizer(TEXTS, "bert", SMALL["vocab_size"], 32).save_pretrained(modules / "model")
    loaded = load_backbone(BackboneRequest(str(modules / "model")))
    ids = torch.randint(4, 40, (3, 9))
    lengths = torch.tensor([9, 4, 7])
    mask = (torch.arange(9) < lengths[:, None]).long()
    with torch.inference_mode():
        states = loaded.encoder(Batch(ids, mask))
        stock = model(ids, attention_mask=mask, output_hidden_states=True).hidden_states
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(states, stock[1:], strict=True))
    eager = load_backbone(BackboneRequest(str(modules / "model"), attention="eager")).encoder
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        eager(Batch(ids[:1]))
    assert counter.get_total_flops() == 2 * (eager.embed_macs(9) + eager.num_layers * eager.layer_macs(9))
