"""What the demo promises to whoever runs it first; the rest of its table is `bench selfcheck demo`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.cell.request import Context, Request
from bench.cell.run import run_request
from bench.cli.process import main
from bench.progress import Progress
from bench.results.run import Run
from bench.results.store import Store
from bench.selfcheck.demo import ASKED, DemoFacts, describe_demo, find_window_share

FACTS = DemoFacts(0, 1, "sse", 0.96, 0.955, 4.0, {"no-loss": 0.1}, 50.0)


def run_once(folder: Path, **more: object) -> Run:
    """Run the demo in this process, without timing."""
    context = Context(Store(folder), Progress(quiet=True), offline=True, command="test")
    return run_request(Request(*ASKED, device="cpu", latency=False, **more), context)  # type: ignore[arg-type]


def test_a_window_is_counted_where_the_entropy_alone_would_wait(tmp_path: Path) -> None:
    small = {"train.steps": 3, "backbone.num_hidden_layers": 3, "window": 1}
    found = run_once(tmp_path, settings=small, limit=60)
    assert found.record.spec.backbone == "albert-12-demo"
    early = found.layers_at("default") < 3
    # a window of one exit fires at the first, whatever the entropy: nearly 1 after three steps
    assert find_window_share(found, "default") == np.mean(early) == 1.0
    without = run_once(tmp_path, settings={**small, "window": 0}, limit=60)
    assert find_window_share(without, "default") == 0.0


def test_the_table_has_a_row_a_run_and_says_how_far_they_are_apart() -> None:
    text = describe_demo([FACTS, DemoFacts(1, 2, "avx2", 0.967, 0.96, 3.5, {"no-loss": 0.06, "2x": 0.07}, 61.0)])
    assert "| 0 | 1 | sse | 0.960 | 0.955 | 4.00x | - | 0.100 | - | 50 |" in text
    assert "| 1 | 2 | avx2 | 0.967 | 0.960 | 3.50x | - | 0.060 | 0.070 | 61 |" in text
    assert "0.960 to 0.967, 0.007 apart. No-loss: 3.50x to 4.00x." in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["demo", "--instructions", "avx3"], "Unknown instruction set 'avx3'"),
        (["demo", "--seed", "x"], "--seed"),
        (["demos"], "Unknown part 'demos'"),
    ],
)
def test_what_is_asked_wrongly_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selfcheck", *words]) == 2
    assert said in capsys.readouterr().err
