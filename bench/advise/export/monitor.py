"""Have texts drifted away from those that an exported model was measured on? Exit shares and scores, with tests.

Both are two-sample tests, since what was recorded is a sample too. Exit shares: chi-square over the table of exits, its
p by permutation (9,999 draws of the table with the same margins), so that it holds for few texts and for rare exits.
Scores at exit i, of the texts that reached it: Kolmogorov-Smirnov. All p-values together are corrected by Holm's method
(Scandinavian Journal of Statistics 6, 1979).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from transformers.utils import logging as transformers_logging

from backbones.hubcalls import hide_bars
from bench.advise.export.early_exit import EarlyExitClassifier
from bench.advise.export.recorded import count_leavers, thin_scores
from bench.advise.export.write import CONFIG, FORMAT, RECORDED
from bench.errors import Damaged, DataError, Newer, UsageError
from bench.files import hash_file
from bench.measure.stats import holm
from bench.progress import Progress
from bench.tasks.checks import read_texts
from bench.tasks.readers import READ_BY_SUFFIX, read_columns, read_lines

DRAWS = 9999
"""Permutations: the smallest p is one in ten thousand."""
LEAST_SCORES = 20
"""Texts, new and recorded, that reach an exit below which its scores are not compared."""
EXACT = 10_000
"""Pairs of scores up to which the exact distribution of Kolmogorov-Smirnov is taken."""
FEW = 100
"""New texts below which only large shifts can be seen, which is said."""


@dataclass(frozen=True)
class Shift:
    """One comparison of new texts with recorded ones.

    ``what``: ``exit shares`` or ``scores at exit i``. ``distance`` in [0, 1]: half the sum of differences of shares, or
    of the two distribution functions the largest. ``p`` as tested, ``adjusted`` for all comparisons.
    """

    what: str
    new: int
    recorded: int
    distance: float
    p: float
    adjusted: float


@dataclass(frozen=True)
class Drift:
    """What new texts do beside the recorded ones: how many leave at each exit, and the comparisons."""

    texts: int
    recorded: int
    split: str
    exit_counts: tuple[int, ...]
    recorded_counts: tuple[int, ...]
    shifts: tuple[Shift, ...]
    alpha: float

    @property
    def drifted(self) -> bool:
        """Whether any comparison, corrected for all, is significant."""
        return any(shift.adjusted < self.alpha for shift in self.shifts)

    @property
    def seen(self) -> float:
        """The smallest distance of score distributions at exit 1 that so many texts would show, at ``alpha``."""
        return float(np.sqrt(-np.log(self.alpha / 2) / 2 * (1 / self.texts + 1 / self.recorded)))

    def to_plain(self) -> dict[str, Any]:
        """Return plain JSON values, the verdict among them."""
        return {"drifted": self.drifted, "said": describe_drift(self), "smallest_seen": self.seen, **asdict(self)}


def monitor_texts(folder: Path, file: Path, alpha: float, progress: Progress) -> Drift:
    """Run the exported model in ``folder`` over the texts of ``file``, and compare with what was recorded.

    The code that lies in the folder is not run: ours is the same. Raises UsageError where the folder is no exported one
    or was changed, DataError for texts that cannot be read or are pairs where the model takes none.
    """
    config = read_exported(folder)
    texts = read_monitored(file, pairs=config["pairs"])
    with hide_bars(transformers_logging):
        model = EarlyExitClassifier.from_pretrained(folder)
    layers, scores = [], []
    with progress.work(f"{len(texts)} texts", len(texts)) as work:
        for text in texts:
            _, layer, asked = model.run(model.encode(text))
            layers.append(layer)
            scores.append(asked)
            work.advance()
    recorded = json.loads((folder / RECORDED).read_text(encoding="utf-8"))
    return compare_traffic(layers, scores, recorded, alpha)


def read_exported(folder: Path) -> dict[str, Any]:
    """Return the configuration of an exported folder, whose files are those that were written.

    Raises UsageError, Newer or Damaged.
    """
    if not (folder / CONFIG).is_file():
        raise UsageError(f"{folder} has no {CONFIG}: `bench export RUN {folder}` makes such a folder.")
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        version, files = config["format"], dict(config["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(folder / CONFIG, "it is not what was exported") from error
    if version != FORMAT:
        raise Newer(folder / CONFIG, version, FORMAT)
    for name, digest in sorted(files.items()):
        if name in ("README.md", "early_exit.py"):  # not read here: anybody may add to them
            continue
        if not (folder / name).is_file() or hash_file(folder / name) != digest:
            raise UsageError(f"{folder / name} is not the file that was exported: export the run again.")
    return config


def read_monitored(path: Path, *, pairs: bool) -> list[str | tuple[str, str]]:
    """Return the texts, or pairs of them, of a .txt file (one a line, a tab within a pair) or of a table.

    A table has the columns ``text``, or ``sentence1`` and ``sentence2``. Raises DataError, naming file, row and remedy.
    """
    if not path.is_file():
        raise DataError(f"There is no file {path}.")
    if path.suffix == ".txt":
        lines = [line.rstrip("\n") for line in read_lines(path)]
        rows = [tuple(line.split("\t")) for line in lines if line.strip()]
        if not rows:
            raise DataError(f"{path}: no texts. Give one a line.")
        for number, row in enumerate(rows, start=1):
            if pairs and len(row) != 2:
                raise DataError(f"{path}, row {number}: the model takes pairs. Put one tab between the two texts.")
        return [(row[0], row[1]) if pairs else "\t".join(row) for row in rows]
    if path.suffix not in READ_BY_SUFFIX:
        raise DataError(f"{path} is none of .txt, {', '.join(READ_BY_SUFFIX)}: convert it.")
    wanted = ("sentence1", "sentence2") if pairs else ("text",)
    table = read_columns(path, "texts", wanted)
    columns = [read_texts(table, name) for name in wanted]
    return list(zip(*columns, strict=True)) if pairs else list(columns[0])


# --------------------------------------------------------------------------- comparisons


def compare_traffic(
    layers: Sequence[int], scores: Sequence[Sequence[float]], recorded: dict[str, Any], alpha: float
) -> Drift:
    """Compare new texts with recorded ones: where they left, from 1 [N], and their scores at the exits asked [N][...].

    ``recorded`` is what :func:`bench.advise.export.recorded.describe_traffic` returns.
    """
    counts, before = count_leavers(layers, len(recorded["exit_counts"])), recorded["exit_counts"]
    found = [("exit shares", len(layers), recorded["samples"], *compare_shares(counts, before))]
    for passed, kept in enumerate(recorded["scores"]):
        now = thin_scores([asked[passed] for asked in scores if len(asked) > passed])
        if min(len(now), len(kept)) >= LEAST_SCORES:
            exact = len(now) * len(kept) <= EXACT  # beyond that it overflows, and the limit is as good
            tested = stats.ks_2samp(now, kept, method="exact" if exact else "asymp")
            asked_before = recorded["asked"][passed]
            count = sum(len(asked) > passed for asked in scores)
            found.append((f"scores at exit {passed + 1}", count, asked_before, tested.statistic, tested.pvalue))
    adjusted = holm([p for *_, p in found]).tolist()
    shifts = [
        Shift(what, new, old, float(distance), float(p), corrected)
        for (what, new, old, distance, p), corrected in zip(found, adjusted, strict=True)
    ]
    return Drift(
        len(layers), recorded["samples"], recorded["split"], tuple(counts), tuple(before), tuple(shifts), alpha
    )


def compare_shares(new: ArrayLike, recorded: ArrayLike) -> tuple[float, float]:
    """Return the distance of two samples' shares, from their counts [L] each, and the p of a chi-square test."""
    table = np.array([new, recorded], dtype=np.int64)
    table = table[:, table.sum(axis=0) > 0]
    distance = float(np.abs(table[0] / table[0].sum() - table[1] / table[1].sum()).sum() / 2)
    drawn = np.random.default_rng(0).multivariate_hypergeometric(table.sum(axis=0), int(table[0].sum()), size=DRAWS)
    statistic, draws = _measure_chi_square(table[0], table), _measure_chi_square(drawn, table)
    return distance, float((1 + (draws >= statistic * (1 - 1e-9)).sum()) / (1 + DRAWS))


def _measure_chi_square(new: NDArray[np.int64], table: NDArray[np.int64]) -> Any:
    """Return chi-square of counts [..., L] of the first sample in tables with these margins; the second follows."""
    columns, rows = table.sum(axis=0), table.sum(axis=1)
    expected = columns * rows[0] / rows.sum()
    # the second row's deviations are the same with the other sign, over its own expected counts
    return ((new - expected) ** 2 / expected * (1 + rows[0] / rows[1])).sum(axis=-1)


def describe_drift(drift: Drift) -> str:
    """Return the verdict in a sentence, and for few texts what it is worth."""
    worst = min(drift.shifts, key=lambda shift: shift.adjusted)
    tests = f"{len(drift.shifts)} test{'s' * (len(drift.shifts) > 1)}"
    sizes = f"{drift.texts} texts against {drift.recorded} recorded ones ({drift.split})"
    if drift.drifted:
        said = (
            f"Drifted: the {worst.what} differ, p = {worst.adjusted:.2g} over {tests}, {sizes}; what was certified or "
            "measured of this model no longer speaks of these texts."
        )
    else:
        said = f"No drift is seen: smallest p = {worst.adjusted:.2g} over {tests}, {sizes}."
    if drift.texts < FEW or drift.recorded < FEW:
        said += f" With so few, only shifts of more than {drift.seen:.0%} of the texts would show."
    return said
