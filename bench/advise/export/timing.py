"""How fast a folder that was taken home answers, beside early exit here: both against the model itself, in one run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers.utils import logging as transformers_logging

from backbones.base import Batch
from backbones.hubcalls import hide_bars
from bench.advise.export.early_exit import EarlyExitClassifier
from bench.cell.reload import load_run_model
from bench.cell.request import Context
from bench.latency.queries import measure_interleaved
from bench.latency.result import LatencyOptions
from bench.latency.rounds import Query
from bench.latency.run import draw_samples
from bench.measure.stats import Interval
from bench.results.run import Run
from bench.tasks.encode import collate_batch, encode_split

SIDE_BY_SIDE = LatencyOptions(samples=64, seconds=60.0, streak=4, threads=1)
HERE, HOME = "early exit", "early_exit.py"


@dataclass(frozen=True)
class HomeTimes:
    """Times faster than the model without exits: early exit ``here``, ``home`` by early_exit.py; home over here.

    All of single texts, over the rounds of one run; ``reasons`` say why the run is not valid, where it is not.
    """

    here: Interval
    home: Interval
    ratio: Interval
    samples: int
    threads: int
    reasons: tuple[str, ...]

    def to_plain(self) -> dict[str, Any]:
        """Return plain JSON values, the sentence among them."""
        return {"said": self.describe(), **asdict(self)}

    def describe(self) -> str:
        """Return what was measured in a sentence."""
        here, home = (f"{one.estimate:.2f}x [{one.low:.2f}, {one.high:.2f}]" for one in (self.here, self.home))
        more, low, high = (f"{100 * (one - 1):+.1f}" for one in (self.ratio.estimate, self.ratio.low, self.ratio.high))
        said = (
            f"Single texts, {self.threads} thread{'s' * (self.threads > 1)}: early_exit.py is {home} faster than the "
            f"model without exits, early exit here {here}; the difference is {more} % [{low}, {high}]."
        )
        return said + (f" INVALID: {'; '.join(self.reasons)}." if self.reasons else "")


def time_exported(run: Run, context: Context, folder: Path, cut: float) -> HomeTimes:
    """Time the exported ``folder`` of ``run`` beside early exit at ``cut`` on the run's reported samples."""
    made = load_run_model(run, context, attention="sdpa")
    with hide_bars(transformers_logging):
        home = EarlyExitClassifier.from_pretrained(folder)
    split = made.data.evaluation[run.primary]
    rows = draw_samples(len(split), SIDE_BY_SIDE.samples, SIDE_BY_SIDE.seed)
    encoded = encode_split(split, made.tokenizer, made.max_length)
    batches = [collate_batch(encoded, [row]) for row in rows]
    found = measure_interleaved(
        made.model,
        {HERE: (made.criterion, cut)},
        batches,
        SIDE_BY_SIDE,
        extra={HOME: make_home_query(home, batches)},
        progress=context.progress.say,
    )
    return HomeTimes(
        here=found.ratio(found.baseline, HERE).estimate_mean(),
        home=found.ratio(found.baseline, HOME).estimate_mean(),
        ratio=found.ratio(HERE, HOME).estimate_mean(),
        samples=len(batches),
        threads=found.threads,
        reasons=tuple(found.reasons),
    )


def make_home_query(home: EarlyExitClassifier, batches: list[Batch]) -> Query:
    """Return what answers query i by an exported folder's own code."""
    given: list[dict[str, Tensor]] = []
    for batch in batches:
        made = {"input_ids": batch.input_ids}
        if batch.token_type_ids is not None:
            made["token_type_ids"] = batch.token_type_ids
        given.append(made)

    def query(i: int) -> float:
        logits, layer, _ = home.run(given[i])
        logits.tolist()
        return float(layer)

    return query
