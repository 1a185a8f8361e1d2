"""The exits of a model as ONNX files: all in one graph, and one segment a layer, between which a text can leave.

Needs the extra ``exitbench[onnx]``. All files share one of weights, in which each tensor is written once.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backbones.base import Batch
from bench.errors import UsageError
from bench.tasks.encode import EncodedSplit, collate_batch
from strategies.base import ExitModel

WHOLE_FILE, WEIGHTS_FILE = "model.onnx", "model.onnx.data"
MOST_DIFFERENT = 1e-4
"""The most by which a logit may differ from torch's; of a regression's answer relative to it, where it is above 1."""
PAGE = 4096
"""Tensors begin at multiples of it, so that they can be mapped into memory; smaller ones stay in the graph's file."""
TEXTS = 8
"""How many texts are compared alone, and as many padded."""
Feed = dict[str, NDArray[Any]]
Tell = Callable[[str], None]


def require_onnx() -> None:
    """Raise UsageError where what ONNX files need is not installed."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UsageError(f'--onnx needs {package}: pip install "exitbench[onnx]".') from error


class GraphPart(nn.Module):
    """Some layers of a model with their exits, from tensors to tensors; the first also embeds."""

    outputs: ClassVar[tuple[str, ...]]

    def __init__(self, model: ExitModel, layers: Sequence[int]) -> None:
        super().__init__()
        self.model, self.layers = model, tuple(layers)

    def step(self, given: Tensor, attention: Tensor, types: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Return the last layer's states [B, T, H], and the logits [B, C] of each exit.

        ``given`` are token ids [B, T] where layer 1 is among the layers, else the states before the first of them. No
        value of the ``attention`` mask [B, T] decides what is done: one text is masked as a batch is.
        """
        encoder, hidden, logits = self.model.encoder, given, []
        if self.layers[0] == 1:
            hidden, _ = encoder.embed(Batch(given, None, types))
            hidden = hidden * attention.to(hidden.dtype).unsqueeze(-1)  # no mask hides padding from a convolution
        mask = encoder.layer_mask(attention, hidden.dtype)
        for layer in self.layers:
            hidden = encoder.layer(layer, hidden, mask)
            logits.append(self.model.head(hidden, attention, layer))
        return hidden, logits


class WholeGraph(GraphPart):
    """All layers: the logits of every exit."""

    outputs = ("logits",)

    def forward(self, given: Tensor, attention: Tensor, types: Tensor | None = None) -> Tensor:
        """Return logits [B, exits, C]."""
        return torch.stack(self.step(given, attention, types)[1], dim=1)


class LayerSegment(GraphPart):
    """One layer: the states that the next one takes, and the logits of its exit."""

    outputs = ("next_hidden_states", "logits")

    def forward(self, given: Tensor, attention: Tensor, types: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return states [B, T, H] and logits [B, C]."""
        hidden, logits = self.step(given, attention, types)
        return hidden, logits[0]


class SharedWeights:
    """The one file of weights of several graphs, open for writing in ``folder``; equal tensors are written once."""

    def __init__(self, folder: Path, file: BinaryIO) -> None:
        self.folder, self.file = folder, file
        self.places: dict[bytes, int] = {}

    def move_from(self, graph: Any) -> None:
        """Move the tensors of an ``onnx_ir`` graph, but the smallest, to the file, and leave where they are."""
        import onnx_ir

        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor.nbytes < PAGE:
                continue
            place = self.find_place(tensor.tobytes())
            value.const_value = onnx_ir.ExternalTensor(
                WEIGHTS_FILE,
                place,
                tensor.nbytes,
                tensor.dtype,
                shape=tensor.shape,
                name=value.name,
                base_dir=self.folder,
            )

    def find_place(self, data: bytes) -> int:
        """Return the offset of ``data`` in the file, to which it is added where it is not there yet."""
        digest = hashlib.sha256(data).digest()
        if digest not in self.places:
            self.file.write(bytes(-self.file.tell() % PAGE))
            self.places[digest] = self.file.tell()
            self.file.write(data)
        return self.places[digest]


def write_onnx(model: ExitModel, folder: Path, encoded: EncodedSplit, *, segments: bool, tell: Tell) -> dict[str, Any]:
    """Write ``model`` to ``folder`` as one graph and as a segment a layer; return what the configuration says of them.

    ``segments``: whether the tokenizer tells the two texts of a pair apart by token types, which is asked of the model
    too. ``encoded`` are texts on which the files are compared with torch. Raises UsageError where a logit differs by
    more than :data:`MOST_DIFFERENT`. ``tell`` is told how far it is.
    """
    typed = segments and int(getattr(model.encoder.model.config, "type_vocab_size", 0)) > 1
    inputs = ["input_ids", "attention_mask", *["token_type_ids"] * typed]
    names = [f"segment-{layer:02}.onnx" for layer in range(1, model.num_layers + 1)]
    parts: dict[str, GraphPart] = {WHOLE_FILE: WholeGraph(model, range(1, model.num_layers + 1))}
    parts |= {name: LayerSegment(model, [layer]) for layer, name in enumerate(names, start=1)}
    found: dict[str, Any] = {"model": WHOLE_FILE, "segments": names, "weights": WEIGHTS_FILE, "inputs": inputs}
    with (folder / WEIGHTS_FILE).open("wb") as file:
        weights = SharedWeights(folder, file)
        for number, (name, part) in enumerate(parts.items(), start=1):
            tell(f"Writing ONNX file {number} of {len(parts)}: {name}.")
            found["opset"] = write_graph(part.eval(), folder / name, inputs, weights)
    batches = choose_batches(encoded)
    tell(f"Comparing the ONNX files with torch on {sum(map(len, batches))} texts.")
    return {**found, "largest_difference": compare_with_torch(model, folder, found, batches)}


def write_graph(part: GraphPart, path: Path, inputs: list[str], weights: SharedWeights) -> int:
    """Write one part to ``path`` for any number and length of texts; return the version of ONNX's operators.

    ``inputs`` are those of the whole model.
    """
    import onnx_ir

    ids = torch.zeros(2, 5, dtype=torch.long)  # any numbers do but 0 and 1, which torch takes for constants
    tokens, attention = {0: "batch", 1: "length"}, torch.ones_like(ids)
    # one tensor given twice would become one input
    given = dict(zip(inputs, (ids, attention, ids.clone()), strict=False))
    if part.layers[0] > 1:
        given = {"hidden_states": torch.zeros(2, 5, part.model.encoder.hidden_size), "attention_mask": attention}
    names = list(given)
    with hide_remarks(), torch.no_grad():
        program: Any = torch.onnx.export(
            part, tuple(given.values()), dynamo=True, input_names=names, output_names=list(part.outputs),
            dynamic_shapes=tuple(tokens for _ in names), verbose=False,
        )  # fmt: skip
    forget_origin(program.model)
    weights.move_from(program.model.graph)
    onnx_ir.save(program.model, path)
    return int(program.model.opset_imports[""])


@contextmanager
def hide_remarks() -> Iterator[None]:
    """Silence what torch and onnxscript say about themselves while they write a graph."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def forget_origin(model: Any) -> None:
    """Take from an ``onnx_ir`` model what says where it was written: on every node lines of source and their paths."""
    graph = model.graph
    for one in (model, graph, *graph.inputs, *graph.initializers.values()):
        one.metadata_props.clear()
    for node in graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()


def choose_batches(encoded: EncodedSplit) -> list[Batch]:
    """Return texts of all lengths, from the shortest to the longest: each alone, and padded to the longest."""
    order = np.argsort(encoded.lengths, kind="stable")
    rows = order[np.unique(np.linspace(0, len(order) - 1, TEXTS).round().astype(np.int64))]
    return [*(collate_batch(encoded, [row]) for row in rows), collate_batch(encoded, rows)]


def compare_with_torch(model: ExitModel, folder: Path, found: dict[str, Any], batches: Sequence[Batch]) -> float:
    """Return by how much the logits of the files in ``folder`` differ from torch's at most.

    ``found`` is what :func:`write_onnx` says of them. Raises UsageError for more than :data:`MOST_DIFFERENT`.
    """
    whole, *chain = (open_session(folder / name) for name in (found["model"], *found["segments"]))
    worst = 0.0
    for batch in batches:
        with torch.inference_mode():
            wanted = torch.stack(model(batch), dim=1).numpy()
        given = make_feed(batch, found["inputs"])
        for made, name in ((whole.run(None, given)[0], WHOLE_FILE), (run_chain(chain, given), "The chain of segments")):
            size = np.maximum(np.abs(wanted), 1) if wanted.shape[2] == 1 else 1
            difference = float(np.max(np.abs(made - wanted) / size))
            if not difference <= MOST_DIFFERENT:  # so that NaN is refused
                raise UsageError(
                    f"{name} differs from torch by {difference:.1e} (at most {MOST_DIFFERENT:g} is allowed), so "
                    f"nothing was written: export this {model.encoder.model_type} model without --onnx."
                )
            worst = max(worst, difference)
    return worst


def open_session(path: Path) -> Any:
    """Return a file ready to be run by onnxruntime on the CPU, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def make_feed(batch: Batch, inputs: Sequence[str]) -> Feed:
    """Return what the files are given for ``batch``: a mask of ones and token types of 0 where it has none."""
    ids = batch.input_ids
    every = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids) if batch.attention_mask is None else batch.attention_mask,
        "token_type_ids": torch.zeros_like(ids) if batch.token_type_ids is None else batch.token_type_ids,
    }
    return {name: every[name].numpy() for name in inputs}


def run_chain(segments: Sequence[Any], given: Feed) -> NDArray[np.float32]:
    """Return logits [B, exits, C] from the open segments, one after another."""
    logits, attention = [], given["attention_mask"]
    for segment in segments:
        hidden, exit = segment.run(None, given)
        logits.append(exit)
        given = {"hidden_states": hidden, "attention_mask": attention}
    return np.stack(logits, axis=1)
