"""One pass that records every exit: the logits that every criterion is replayed from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from bench.errors import Damaged, UsageError
from bench.files import replace_file
from bench.progress import Progress
from bench.tasks.base import Split
from bench.tasks.encode import EncodedSplit, collate, length_batches
from strategies.base import Evidence, ExitModel, check_finite

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}


@dataclass(frozen=True)
class AllExits:
    """Every exit's logits over a split, in the split's order.

    ``logits`` float32 [N, L, C]; ``labels`` int64 or float32 [N]; ``ids`` N stable sample ids; ``lengths`` int64 [N]
    tokens with special ones; ``observed`` float32 [N, L, K], what the criterion's probe read, where it has one.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64] | NDArray[np.float32]
    logits: NDArray[np.float32]
    lengths: NDArray[np.int64]
    observed: NDArray[np.float32] | None = None

    @property
    def predictions(self) -> NDArray[np.int64] | NDArray[np.float32]:
        """What each exit answers, [N, L]: the class of the largest logit (first maximum), or the value."""
        return self.logits[:, :, 0] if self.logits.shape[2] == 1 else self.logits.argmax(axis=2)

    def save(self, path: Path) -> None:
        """Write as Parquet, one row a sample, atomically."""
        _, exits, outputs = self.logits.shape
        columns = {
            "id": pa.array(self.ids, pa.string()),
            "label": pa.array(self.labels),
            "tokens": pa.array(self.lengths),
            "logits": _lists(self.logits),
        }
        if self.observed is not None:
            columns["observed"] = _lists(self.observed)
        facts = {"exits": str(exits), "outputs": str(outputs), "sha256": self.checksum()}
        table = pa.table(columns).replace_schema_metadata(facts)
        with replace_file(path) as temporary:
            # floats byte by byte: signs and exponents are alike and compress, which takes two fifths off a file
            numbers = [f"{name}.list.element" for name in ("logits", "observed") if name in columns]
            pq.write_table(table, temporary, compression="zstd", use_dictionary=["id"], use_byte_stream_split=numbers)

    @classmethod
    def load(cls, path: Path) -> AllExits:
        """What :meth:`save` wrote. Raises Damaged where it is not what is there now."""
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise Damaged(path, str(error).partition("\n")[0]) from error
        exits, outputs = (int(table.schema.metadata[name]) for name in (b"exits", b"outputs"))

        def array(column: str) -> NDArray[np.float32]:
            flat = table[column].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            return flat.reshape(len(table), exits, -1).astype(np.float32)  # a copy: Arrow's memory is read-only

        found = cls(
            tuple(table["id"].to_pylist()),
            table["label"].to_numpy(),
            array("logits").reshape(len(table), exits, outputs),
            table["tokens"].to_numpy(),
            array("observed") if "observed" in table.column_names else None,
        )
        # files of before there were checksums have none
        if table.schema.metadata.get(b"sha256", b"").decode() not in ("", found.checksum()):
            raise Damaged(path, "its checksum differs")
        return found

    def checksum(self) -> str:
        """SHA-256, hex, of everything in it."""
        digest = hashlib.sha256("\n".join(self.ids).encode())
        for values in (self.labels, self.lengths):
            digest.update(f"{values.dtype} {values.shape}".encode() + values.tobytes())
        for numbers in (self.logits, self.observed):
            if numbers is not None:
                digest.update(str(numbers.shape).encode() + numbers.astype(np.float32).tobytes())
        return digest.hexdigest()

    def take(self, rows: NDArray[np.int64]) -> AllExits:
        """Some of the samples, by row."""
        observed = None if self.observed is None else self.observed[rows]
        ids = tuple(self.ids[i] for i in rows)
        return AllExits(ids, self.labels[rows], self.logits[rows], self.lengths[rows], observed)

    def evidence(self) -> Evidence:
        """The same as tensors, for a criterion to be fitted on."""
        observed = None if self.observed is None else torch.from_numpy(self.observed)
        return Evidence(torch.from_numpy(self.logits), torch.tensor(self.labels.tolist()), observed)


def _lists(values: NDArray[np.float32]) -> pa.FixedSizeListArray:
    """[N, L, K] as a column with a list of L * K numbers a row."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), pa.float32()), values[0].size)


def all_logits(
    model: ExitModel, encoded: EncodedSplit, rows: NDArray[np.int64], device: torch.device
) -> list[torch.Tensor]:
    """Logits [B, C] of every exit; in halves where the device has no memory for all rows at once.

    Raises UsageError where it has none for a single one.
    """
    try:
        return model(collate(encoded, rows).to(device))
    except torch.OutOfMemoryError as error:
        if len(rows) == 1:
            raise UsageError(
                "The GPU has no memory for a single sample: take a smaller model or max_length."
            ) from error
    torch.cuda.empty_cache()
    halves = (rows[: len(rows) // 2], rows[len(rows) // 2 :])
    first, second = (all_logits(model, encoded, half, device) for half in halves)
    return [torch.cat(pair) for pair in zip(first, second, strict=True)]


@torch.inference_mode()
def collect(
    model: ExitModel,
    split: Split,
    encoded: EncodedSplit,
    *,
    device: torch.device,
    dtype: str,
    progress: Progress,
    batch_size: int = 64,
) -> AllExits:
    """Run ``model`` once over ``split`` with every exit on. Raises StrategyError on logits that are not finite."""
    model = model.to(device=device, dtype=DTYPES[dtype]).eval()
    logits = np.empty((len(split), model.num_layers, model.head.num_outputs), dtype=np.float32)
    with progress.work(f"All exits of {split.name}", len(split)) as work:
        for rows in length_batches(encoded.lengths, batch_size):
            found = all_logits(model, encoded, rows, device)
            for layer, z in enumerate(found, start=1):
                check_finite(z, layer, [split.ids[i] for i in rows])
                logits[rows, layer - 1] = z.float().cpu().numpy()
            work.advance(len(rows))
    return AllExits(split.ids, split.labels, logits, encoded.lengths)
