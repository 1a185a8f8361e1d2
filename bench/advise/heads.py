"""The model with its exits, fitted once for all criteria, and what every exit says on the samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backbones.base import Batch
from backbones.load import Loaded
from bench.advise.question import Prepared
from bench.cell.stages import Reader, build_model, load_cell_backbone, make_reader, record_splits, train_or_load
from bench.inference.replay import fit_criterion, make_evidence
from bench.latency.run import draw_samples
from bench.measure.exits import AllExits
from bench.measure.held_out import HeldOutShares, share_held_out
from bench.results.facts import Training
from bench.tasks.encode import EncodedSplit, collate_batch
from strategies.base import Criterion, ExitModel


@dataclass(frozen=True)
class OwnModel:
    """Somebody's model as it came, its exits still new; ``encoded`` are the samples to choose on and to report."""

    prepared: Prepared
    loaded: Loaded
    reader: Reader
    encoded: Mapping[str, EncodedSplit]
    unfitted: ExitModel
    warnings: list[str]

    @property
    def reported(self) -> EncodedSplit:
        """The samples that are reported."""
        return self.encoded[self.prepared.cell.primary]

    def draw_batches(self, most: int, size: int = 1) -> list[Batch]:
        """Return at most ``most`` batches of the reported samples, drawn at random, the same each time."""
        rows = draw_samples(len(self.reported), most * size, 0)
        chunks = [rows[i : i + size] for i in range(0, len(rows), size)]
        full = [chunk for chunk in chunks if len(chunk) == size] or chunks
        return [collate_batch(self.reported, chunk) for chunk in full]


@dataclass(frozen=True)
class RecordedExits:
    """Every exit's logits on the samples to choose on and on those that are reported."""

    choose: AllExits
    report: AllExits


@dataclass(frozen=True)
class FittedExits(RecordedExits):
    """The model with fitted exits, and what they say."""

    model: ExitModel
    training: Training


def load_own_model(prepared: Prepared) -> OwnModel:
    """Load the model with new exits, and read the samples."""
    cell, warnings = prepared.cell, list[str]()
    loaded = load_cell_backbone(cell, warnings.append)
    reader = make_reader(cell, loaded, warnings.append)
    encoded = {split.name: reader.encode(split) for split in cell.splits}
    unfitted, _ = build_model(cell, loaded)
    return OwnModel(prepared, loaded, reader, encoded, unfitted.to(cell.spec.device).eval(), warnings)


def fit_exits_once(own: OwnModel) -> FittedExits:
    """Fit the exits, or load what an earlier call fitted; pass the samples through all of them."""
    cell, warn = own.prepared.cell, own.warnings.append
    model, training = train_or_load(cell, own.loaded, own.reader, warn)
    exits = record_splits(cell, model, own.encoded, warn)
    return FittedExits(exits[cell.data.select.name], exits[cell.primary], model, training)


def fit_candidate(criterion: Criterion, choose: AllExits, seed: int) -> AllExits:
    """Fit a criterion that has something to learn; return the samples that are left to choose its cut on."""
    shares = share_held_out(choose, seed) if criterion.fits else HeldOutShares(choose, choose)
    fit_criterion(criterion, make_evidence(shares.fit))
    return shares.choose
