"""Early exit for the model in this folder: a text leaves at the first layer whose exit is sure enough of its answer.

It needs torch and transformers, nothing else. Written by `bench export` of ExitBench (Apache-2.0).

    from early_exit import EarlyExitClassifier
    model = EarlyExitClassifier.from_pretrained("this/folder")
    labels, scores, layers = model(["a text", "another"])  # pairs of texts: [("one", "two"), ...]

    python early_exit.py this/folder texts.txt  # one text a line (a pair: with a tab): how much faster than all layers
"""

import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import local
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

LAYERS_AT = {"albert": "encoder.albert_layer_groups", "distilbert": "transformer.layer", "modernbert": "layers"}
TextOrPair = str | Sequence[str]


def score_exit(rule: dict[str, Any], past: list[Tensor], exits: int) -> float:
    """Return the criterion's score at the last exit of ``past``, logits [1, C] each: the lower, the surer."""
    kind, window, z = rule["kind"], rule.get("window", 0), past[-1]
    if kind == "patience":
        answers = [(one if z.shape[-1] == 1 else one.argmax(-1)).item() for one in past]
        agreed = 0
        while agreed + 1 < len(past) and abs(answers[-1 - agreed] - answers[-2 - agreed]) < rule["tolerance"]:
            agreed += 1
        return -agreed
    if kind == "max-probability":
        return (1 - z.softmax(-1).amax(-1)).item()
    if kind == "margin":
        best = z.softmax(-1).topk(2, dim=-1).values
        return (1 - (best[:, 0] - best[:, 1])).item()
    if 0 < window <= exits and len(past) >= window and has_settled(rule, torch.stack(past[-window:], dim=1)):
        return -math.inf
    log_p = z.log_softmax(-1)
    entropy = (log_p.exp() * log_p).sum(-1)
    return (entropy.neg() if kind == "entropy-nats" else entropy / -math.log(z.shape[-1])).item()


def has_settled(rule: dict[str, Any], z: Tensor) -> bool:
    """Return whether ELBERT's window test holds over the logits [1, N, C] of the last N exits."""
    p, log_p, two, margin = z.softmax(-1), z.log_softmax(-1), z.shape[-1] == 2, rule["margin"]
    best, label = p.topk(2, dim=-1)
    label = torch.where(best[..., 0] - best[..., 1] > 2 * margin, label[..., 0], -1)
    if two:  # on p(class 0) alone: p(class 1) rounds differently
        label = torch.where(p[..., 0] > 0.5 + margin, 0, torch.where(p[..., 0] < 0.5 - margin, 1, -1))
    if rule["kind"] != "elbert-mono":
        sure = p[..., 0] if two else best[..., 0]
        same = bool((label[:, 0] >= 0) & (label == label[:, :1]).all(1))
        return same and bool(sure.amax(1) - sure.amin(1) <= rule.get("range", math.inf))
    now = int(p[:, -1].argmax(-1))
    sure = p[..., 0] if now == 0 else -p[..., 0]
    if not two:  # log-odds, which tell 1 - 1e-8 from 1 - 1e-9
        index = torch.full_like(log_p[..., :1], now, dtype=torch.long)
        sure = log_p[..., now] - log_p.scatter(2, index, -math.inf).logsumexp(2)
    return bool((label[:, 0] == now) & (sure[:, 1:] >= sure[:, :-1]).all(1))


class Left(Exception):
    """Ends the stock model's forward: the text has its answer."""


class EarlyExitClassifier:
    """The stock model with its exits: its own forward, one text at a time, which ends where the text leaves."""

    def __init__(self, model: Any, tokenizer: Any, exits: dict[str, Tensor], config: dict[str, Any]) -> None:
        self.model, self.tokenizer, self.config, self.now = model, tokenizer, config, local()
        self.exits = [[(exits[f"{name}.weight"], exits[f"{name}.bias"]) for name in row] for row in config["exits"]]
        ends = list(model.base_model.get_submodule(LAYERS_AT.get(config["model_type"], "encoder.layer")))
        ends[0] = getattr(getattr(model.base_model, "encoder", None), "conv", None) or ends[0]  # DeBERTa's
        ends[-1] = getattr(model.base_model, "final_norm", ends[-1])  # ModernBERT's
        for end in ends:
            end.register_forward_hook(self._end_layer)

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str = "cpu") -> "EarlyExitClassifier":
        """Return the classifier in ``folder``, as `bench export` wrote it."""
        config = json.loads((Path(folder) / "exit_config.json").read_text(encoding="utf-8"))
        kind = AutoModelForSequenceClassification if config["own_last_exit"] else AutoModel
        safe = {"local_files_only": True, "trust_remote_code": False}
        model = kind.from_pretrained(folder, use_safetensors=True, **safe, **config["model_args"])
        tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
        tokenizer.model_input_names = config["inputs"]
        exits = load_file(Path(folder) / "exits.safetensors", device=device)
        return cls(model.float().to(device).eval(), tokenizer, exits, config)

    def __call__(self, texts: Sequence[TextOrPair]) -> tuple[list[Any], list[float], list[int]]:
        """Return labels (a regression's numbers), their probabilities (there 1) and exit layers, from 1."""
        names, answers = self.config["labels"], [self.run(self.encode(text)) for text in texts]
        labels = [float(z) if names is None else names[int(z.argmax())] for z, _, _ in answers]
        return labels, [float(z.softmax(-1).max()) for z, _, _ in answers], [layer for _, layer, _ in answers]

    def encode(self, text: TextOrPair) -> dict[str, Tensor]:
        """Return the token ids [1, T] of one text or pair."""
        pair = (text,) if isinstance(text, str) else text
        found = self.tokenizer(*pair, truncation=True, max_length=self.config["max_length"], return_tensors="pt")
        return {name: tensor.to(self.model.device) for name, tensor in found.items()}

    @torch.inference_mode()
    def run(self, batch: dict[str, Tensor], early: bool = True) -> tuple[Tensor, int, list[float]]:
        """Return the logits [1, C] that answer, the exit they are from, and the scores at the exits that were asked.

        Without ``early`` the text goes through all layers, and only the last exit is asked.
        """
        now = self.now
        now.past, now.scores, now.layer, now.early = [], [], 0, early
        try:
            return self.model(**batch).logits[:, self.config["order"]], now.layer, now.scores
        except Left as left:
            return left.args[0], now.layer, now.scores

    def _end_layer(self, module: Any, given: Any, out: Any) -> None:
        """Ask the exit after a layer; a text that leaves ends the forward."""
        now, last, rule = self.now, self.config["layers"], self.config["criterion"]
        now.layer += 1
        if now.layer > len(self.exits) or (now.layer < last and not now.early):
            return  # the last exit is the stock model's own classifier, or nobody asks
        hidden = out[0] if isinstance(out, tuple) else out
        z = hidden[:, 0] if self.config["pooling"] == "cls" else hidden.mean(1)
        for weight, bias in self.exits[now.layer - 1][:-1]:
            z = F.linear(z, weight, bias).tanh()
        now.past.append(F.linear(z, *self.exits[now.layer - 1][-1]))
        if now.layer < last:
            now.scores.append(score_exit(rule, now.past, last))
        if now.layer == last or now.scores[-1] < rule["cut"] or (now.scores[-1] == rule["cut"] and not rule["strict"]):
            raise Left(now.past[-1])


if __name__ == "__main__":
    model, spent = EarlyExitClassifier.from_pretrained(sys.argv[1]), [0.0, 0.0]
    lines = Path(sys.argv[2]).read_text(encoding="utf-8").splitlines()
    batches = [model.encode(line.split("\t") if "\t" in line else line) for line in lines if line.strip()]
    for batch in batches[:10] + batches:  # the first ten warm up
        for early in (False, True):
            begun = time.perf_counter()
            model.run(batch, early)
            spent[early] += time.perf_counter() - begun
    print(f"{spent[0] / spent[1]:.2f}x faster than all layers: {spent[1]:.3f} s instead of {spent[0]:.3f} s")
