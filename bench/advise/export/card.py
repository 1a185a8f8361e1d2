"""The model card of an exported folder: what it decides, what was measured, how it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.measure.metrics import title_metric
from bench.results.measures import Performance
from bench.results.run import Run
from bench.results.times import TimedPoint
from bench.text import escape_markdown, quote_markdown, write_markdown_table

if TYPE_CHECKING:
    from bench.advise.export.chosen import ChosenPoint

USE = """\
```python
from early_exit import EarlyExitClassifier

model = EarlyExitClassifier.from_pretrained(".")
labels, scores, layers = model(["a text", "another"])  # pairs of texts: [("one", "two"), ...]
```

`early_exit.py` needs torch and transformers only. It runs one text at a time and stops the stock model's own forward
at the layer where the text leaves. How much faster that is on your machine and your texts, one text a line:

```
python early_exit.py . texts.txt
```

Whether new texts still behave like those below: `bench monitor . texts.txt`.
"""

USE_ONNX = """\
```python
import json, onnxruntime, torch
from transformers import AutoTokenizer
from early_exit import score_exit
config = json.load(open("exit_config.json"))
segments = [onnxruntime.InferenceSession(name) for name in config["onnx"]["segments"]]
tokenizer = AutoTokenizer.from_pretrained(".", model_input_names=config["onnx"]["inputs"])
found = tokenizer("a text", truncation=True, max_length=config["max_length"], return_tensors="np")
given, past = dict(found), []
for segment in segments:
    hidden, logits = segment.run(None, given)
    past.append(torch.from_numpy(logits))
    if score_exit(config["criterion"], past, config["layers"]) LESS config["criterion"]["cut"]:
        break
    given = {"hidden_states": hidden, "attention_mask": found["attention_mask"]}
print(len(past), logits[0].tolist())  # the exit layer, from 1, and its answer
```
"""


def write_card(run: Run, chosen: ChosenPoint, counts: Sequence[int], config: Mapping[str, Any] | None) -> str:
    """Return the text of README.md for a run, of whose samples ``counts`` leave at exit 1, 2, ...

    ``config`` is what ``exit_config.json`` of the exported model will say, None for a card without the model.
    """
    record, result = run.record, run.result()
    title = escape_markdown(f"{run.backbone} with early exit for {run.task}")
    lines = ["---", *write_metadata(run, chosen).splitlines(), "---", "", f"# {title}", ""]
    lines += [escape_markdown(describe_point(run, chosen)), "", *([] if config is None else [*USE.splitlines(), ""])]
    lines += describe_onnx(config) if config is not None and "onnx" in config else []
    lines += [f"## Measured on {escape_markdown(run.primary)}", ""]
    plain = None if record.latency is None else record.latency.configurations.get("all layers")
    timed = {"all layers": plain, chosen.rule: None if chosen.point is None else chosen.point.latency}
    rows = [("all layers", None, result.full), (chosen.rule, chosen.threshold, chosen.measured)]
    names = record.task.metrics
    columns = ["", run.criterion.threshold_name, *map(title_metric, names), "mean exit", "speed-up", "latency speed-up"]
    mark = run.timing_mark
    cells = [_write_row(rule, threshold, found, names, timed[rule], mark) for rule, threshold, found in rows]
    lines += [*write_markdown_table(columns, cells), ""]
    lines += [
        f"n = {result.samples}; 95 % intervals over samples. Thresholds were chosen on {run.chosen_on} other samples. "
        "Speed-ups are against all layers without exits: FLOPs (or layers where it says so), and the clock, on the "
        "machine of the run, where it was measured.",
        "",
    ]
    shares = [[str(exit), f"{count / max(sum(counts), 1):.1%}"] for exit, count in enumerate(counts, start=1)]
    lines += [*write_markdown_table(["exit", "texts that leave there"], shares), ""]
    lines += ["## What to know", ""]
    rules = [chosen.rule] if chosen.point is not None else []
    lines += [f"- {escape_markdown(doubt.said)}." for doubt in run.find_doubts(rules=rules)]
    lines += [f"- {escape_markdown(said)}" for said in describe_timing(run)]
    lines += [f"- {escape_markdown(warning)}." for warning in record.warnings]
    if run.spec.dtype != "fp32":
        lines.append(f"- The run was in {run.spec.dtype}, this model is in fp32: single texts may leave elsewhere.")
    lines += [f"- Run {quote_markdown(run.folder.name)}: {quote_markdown(record.command)}."]
    return "\n".join(lines) + "\n"


def write_metadata(run: Run, chosen: ChosenPoint) -> str:
    """Return the card's metadata in the hub's YAML: the results with all layers and at the point, by metric."""
    from huggingface_hub import EvalResult, ModelCardData

    record = run.record
    regression = record.task.kind == "regression"
    about: dict[str, Any] = {
        "task_type": "text-classification",
        "task_name": "Text regression" if regression else "Text classification",
        "dataset_type": run.task,
        "dataset_name": run.task,
        "dataset_split": run.primary,
        "dataset_revision": record.task.revision,
    }
    whole, here = run.result().full, chosen.measured
    unit = "FLOPs" if here.cost_unit == "flops" else "layers"
    places = {"all layers": whole, f"{chosen.rule}, {here.cost_speedup.value:.2f}x fewer {unit}": here}
    found = [
        EvalResult(metric_type=name, metric_value=value.value, metric_name=f"{title_metric(name)} ({place})", **about)
        for place, measured in places.items()
        for name, value in measured.metrics.items()
    ]
    tags, name = ["early-exit", "exitbench", run.strategy], f"{run.backbone} {run.strategy} {run.task}"
    return ModelCardData(library_name="transformers", tags=tags, model_name=name, eval_results=found).to_yaml()


def describe_onnx(config: Mapping[str, Any]) -> list[str]:
    """Return what the card says of the ONNX files: what goes in and comes out, how a text leaves early, how exact."""
    onnx, tokens = config["onnx"], "[batch, length] int64"
    exits, classes, given = config["layers"], config["outputs"], f"{', '.join(config['onnx']['inputs'])}: {tokens}"
    states = "[batch, length, hidden] float32"
    out = f"next_hidden_states: {states}; logits: [batch, {classes}] float32"
    first, *others = onnx["segments"]
    rows = [
        [onnx["model"], given, f"logits: [batch, {exits}, {classes}] float32, of all exits"],
        [first, given, out],
        *([name, f"hidden_states: {states}; attention_mask: {tokens}", out] for name in others),
        [onnx["weights"], "-", "the weights of all of them, read from beside them"],
    ]
    less = "<" if config["criterion"]["strict"] else "<="
    return [
        "## ONNX",
        "",
        *write_markdown_table(["File", "Inputs", "Outputs"], rows),
        "",
        "Any number and length of texts, padding where the mask is 0, classes in the order of `labels` in "
        "exit_config.json. With `pip install onnxruntime`, one segment after another, as far as a text has to go:",
        "",
        *USE_ONNX.replace("LESS", less).splitlines(),
        "",
        f"In float32, for operators of version {onnx['opset']}; logits were compared with torch's on texts of the "
        f"task, and differ by {onnx['largest_difference']:.1e} at most.",
        "",
    ]


def describe_point(run: Run, chosen: ChosenPoint) -> str:
    """Return the sentence that says what the exported model does and at what price, with what is doubted in short."""
    found, metric = chosen.measured, run.metric
    quality, whole = found.metrics[metric].value, run.result().full.metrics[metric].value
    unit = "FLOPs" if found.cost_unit == "flops" else "layers"
    doubts = run.find_doubts(rules=[] if chosen.point is None else [chosen.rule])
    marks = f" ({', '.join(doubt.mark for doubt in doubts)})" if doubts else ""
    sentence = (
        f"{run.strategy} at {run.criterion.threshold_name} {chosen.threshold:.4g} ({chosen.rule}): texts of "
        f"{run.primary} leave after {found.mean_layer:.2f} of {run.layers} layers on average, "
        f"{found.cost_speedup.value:.2f}x fewer {unit}{marks}; {title_metric(metric)} {quality:.3f} against "
        f"{whole:.3f} with all layers."
    )
    timed = None if chosen.point is None else chosen.point.latency
    if timed is None:
        return sentence
    marks = f" ({', '.join(run.timing_flags)})" if run.timing_flags else ""
    return f"{sentence} {timed.speedup.write_times()} faster where it was timed{marks}."


def describe_timing(run: Run) -> list[str]:
    """Return the sentences that say what to know of the run's latency; none where nothing was timed."""
    return list(run.timing_notes)


def _write_row(
    rule: str, threshold: float | None, found: Performance, names: tuple[str, ...], timed: object, mark: str
) -> list[str]:
    row = [rule, "-" if threshold is None else f"{threshold:.4g}", *(found.metrics[name].write() for name in names)]
    unit = "FLOPs" if found.cost_unit == "flops" else "layers"
    row += [f"{found.mean_layer:.2f} / {len(found.exit_counts)}", f"{found.cost_speedup.write_times()} ({unit})"]
    measured = timed.speedup.write_times() + mark if isinstance(timed, TimedPoint) else "-"
    return [*row, measured]
