"""What is fitted after the model: a criterion's probe on training features, its own numbers on the held-out split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from backbones.names import is_ours
from bench.cell.identify import Cell, Warn
from bench.cell.rehearsal import MADE_UP as REHEARSED
from bench.cell.rehearsal import rehearse_steps
from bench.cell.sources import digest_class
from bench.cell.stages import Reader
from bench.errors import UsageError
from bench.files import remove_leftovers
from bench.inference.probing import probe_split, record_features
from bench.inference.replay import fit_criterion, make_evidence
from bench.measure.exits import AllExits
from bench.measure.held_out import HeldOutShares, share_held_out
from bench.progress import Progress
from bench.results.facts import FittedCriterion, FittedProbe
from bench.results.spec import hash_identity, identify_exits
from bench.results.store import Store, load_or_set_aside
from bench.tasks.base import Split
from bench.tasks.encode import EncodedSplit
from bench.tasks.sampling import draw_rows
from bench.training.checkpoint import load_tensors, save_tensors
from strategies.base import Criterion, ExitModel
from strategies.contract import is_makers
from strategies.probe import Probe

MOST_FITTED = 4096  # of the training split that a probe is fitted on: enough for what is linear or a mean


def fit_cell_criterion(
    cell: Cell,
    model: ExitModel,
    reader: Reader,
    encoded: Mapping[str, EncodedSplit],
    exits: Mapping[str, AllExits],
    warn: Warn,
) -> tuple[Criterion, dict[str, AllExits], HeldOutShares, FittedCriterion]:
    """Return the criterion, fitted where it can be; the exits with what its probe reads, by split; the held-out
    samples to fit it and to choose its points on, all of them for both where it has nothing to fit; what was learned.

    ``model`` must be where, and in the precision in which, its logits are recorded.
    """
    criterion, read, learned = cell.parts.criterion(cell.spec), dict(exits), None
    if criterion.probe is not None:
        probing = Probing.of_cell(cell, model, criterion.probe)
        learned = probing.fit_or_load(cell.data.train, reader.encode, cell.spec.seed, warn)
        read = {s.name: probing.read(exits[s.name], s, encoded[s.name], warn) for s in cell.splits}
    held_out = read[cell.data.select.name]
    shares = share_held_out(held_out, cell.spec.seed) if criterion.fits else HeldOutShares(held_out, held_out)
    fitted = fit_criterion(criterion, make_evidence(shares.fit))
    if is_makers(criterion) and (criterion.fits or criterion.probe is not None):
        few = make_evidence(shares.fit)
        rehearse_steps(criterion, few.logits[:REHEARSED], None if few.observed is None else few.observed[:REHEARSED])
    plain = {"probe": None if learned is None else learned.to_plain(), "fitted": fitted}
    if criterion.fits:
        counts = {"fitted_on": len(shares.fit.ids), "chosen_on": len(shares.choose.ids), "apart": shares.apart}
        plain |= {"held_out": counts}
    return criterion, read, shares, FittedCriterion.from_plain(plain)


@dataclass(frozen=True)
class Probing:
    """A trained model with a probe, and where what the probe learns and reads is kept.

    ``exits`` is the identity of the model's logits: together with the probe's name, version and settings it is that of
    the probe's numbers, so that they are shared by all criteria that read them, and the logits by all criteria.
    """

    model: ExitModel
    probe: Probe
    store: Store
    exits: Mapping[str, object]
    progress: Progress

    @classmethod
    def of_cell(cls, cell: Cell, model: ExitModel, probe: Probe) -> Probing:
        """Return the cell's model with its probe."""
        digest = None if is_ours(type(probe)) else digest_class(type(probe))
        sources = {**cell.facts.sources, **({} if digest is None else {"probe": digest})}
        identity = {**identify_exits(cell.spec, cell.facts), **({"sources": sources} if sources else {})}
        return cls(model, probe, cell.context.store, identity, cell.context.progress)

    @cached_property
    def key(self) -> str:
        """The identity of what the probe learns and reads."""
        kind = type(self.probe)
        name = f"{kind.__module__}:{kind.__qualname__}"
        own = {"name": name, "version": kind.version, "settings": self.probe.settings, "samples": MOST_FITTED}
        return hash_identity({**self.exits, "probe": own})

    @property
    def folder(self) -> Path:
        """The folder where what the probe learns and reads is kept."""
        return self.store.cache("probes", self.key)

    def fit_or_load(self, train: Split, encode: Callable[[Split], EncodedSplit], seed: int, warn: Warn) -> FittedProbe:
        """Fit the probe on at most 4,096 samples of ``train``, drawn by ``seed``, or load what an earlier run fitted.

        The model must be where, and in the precision in which, it is recorded.
        """
        if not self.probe.trains:
            return self.load()
        path = self.folder / "probe.safetensors"
        with self.store.lock(f"probe-{self.key}", self.progress):
            remove_leftovers(self.folder)
            if load_or_set_aside(self.store, path, load_tensors, self.progress, warn) is None:
                part = draw_rows(train, MOST_FITTED, seed)
                features, logits = record_features(self.model, encode(part), self.progress)
                numbers = self.probe.fit(features, logits, torch.tensor(part.labels.tolist()))
                facts = {"key": self.key, "samples": len(part), "numbers": numbers}
                save_tensors(path, self.probe.state_dict(), facts)
        return self.load()

    def load(self) -> FittedProbe:
        """Put the fitted buffers back, on the model's device. Raises UsageError where they are gone."""
        path = self.folder / "probe.safetensors"
        found = FittedProbe(key=self.key, samples=0, numbers={})
        if self.probe.trains:
            if not path.exists():
                raise UsageError(
                    f"What the criterion's probe had learned is gone from {self.folder}: run the cell again."
                )
            tensors, facts = load_tensors(path)
            self.probe.restore(tensors)
            found = FittedProbe.from_plain(facts)
        parameter = next(self.model.parameters())
        judging = torch.float64 if parameter.dtype == torch.float64 else torch.float32  # criteria's precision
        self.probe.to(device=parameter.device, dtype=judging).eval()
        return found

    def read(self, exits: AllExits, split: Split, encoded: EncodedSplit, warn: Warn) -> AllExits:
        """Return ``exits`` with what the probe reads there, computed once for all criteria that read it."""
        path = self.folder / f"{split.name}.safetensors"
        with self.store.lock(f"probe-{self.key}", self.progress):
            remove_leftovers(self.folder)
            if load_or_set_aside(self.store, path, load_tensors, self.progress, warn) is None:
                observed = probe_split(self.model, self.probe, encoded, self.progress)
                save_tensors(path, {"observed": observed}, {})
        return replace(exits, observed=load_tensors(path)[0]["observed"].numpy())
