"""Where results come from: machines and code, marked by letters in tables; data and seeds, which captions end with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, product
from string import ascii_lowercase

from bench.latency import is_former_protocol
from bench.measure.metrics import title_metric
from bench.report.series import Panel, Series
from bench.results.groups import write_canonical
from bench.results.run import Run
from bench.results.store import LeftOut
from bench.results.times import describe_former


@dataclass(frozen=True)
class StoreContents:
    """What a report is about: runs in order of path, and the records that could not be read."""

    runs: Sequence[Run]
    left_out: Sequence[LeftOut]

    @property
    def finished(self) -> list[Run]:
        """The runs with results."""
        return [run for run in self.runs if run.is_finished()]

    def count_left_out(self) -> dict[str, int]:
        """Count the records that are damaged, and those that a newer version wrote."""
        return {state: sum(bad.state == state for bad in self.left_out) for state in ("damaged", "newer")}

    @property
    def failed(self) -> list[Run]:
        """The runs that stopped with an error."""
        return [run for run in self.runs if run.status == "error"]

    @property
    def unfinished(self) -> list[Run]:
        """The runs that were started and did not end, or were cancelled."""
        return [run for run in self.runs if run.status in ("started", "cancelled")]

    @property
    def badly_timed(self) -> list[Run]:
        """The runs whose timing is not valid."""
        return [run for run in self.runs if find_timing_problem(run)]


def find_timing_problem(run: Run) -> str:
    """Return why a run's timing is not valid; empty where it is or was not made."""
    return run.timing_problem if run.is_finished() else ""


def describe_protocols(protocols: Iterable[str]) -> str:
    """Return the sentences about former protocols among those of the times shown, a space before each; else nothing."""
    former = sorted({one for one in protocols if is_former_protocol(one)})
    return "".join(f" Times v1 are {describe_former(one)}." for one in former)


def find_machine(run: Run) -> str:
    """Return the machine's id that latency belongs to."""
    return run.head.environment.machine_id


def describe_machines(runs: Sequence[Run]) -> dict[str, str]:
    """Return machine ids and what they are in words, in order of the runs."""
    found = {}
    for run in reversed(runs):
        machine = run.head.environment.machine
        memory = "" if machine.memory_gib is None else f"{machine.memory_gib} GiB"
        parts = [machine.cpu, _count(machine.cores, "core"), _count(machine.threads, "thread"), memory, machine.system]
        found[find_machine(run)] = ", ".join(filter(None, [*parts, ", ".join(machine.gpus) or "no GPU"]))
    return found


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


@dataclass
class Revision:
    """A source revision or environment that results came from, with the letter that marks them in tables."""

    letter: str
    code: str
    packages: str
    cells: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Code and packages, in words."""
        return f"{self.code}; {self.packages}"


def find_revisions(runs: Sequence[Run]) -> dict[str, Revision]:
    """Return every combination of commit, dirty flag and package versions, lettered in order of the runs."""
    letters = ("".join(some) for length in count(1) for some in product(ascii_lowercase, repeat=length))
    found: dict[str, Revision] = {}
    for run in runs:
        key = make_revision_key(run)
        if key not in found:
            source, versions = run.head.environment.source, run.head.environment.versions
            code = f"release {versions.get('exitbench')}"
            if source is not None:
                code = f"commit {source.commit[:10]}" + (" with uncommitted changes" if source.dirty else "")
            named = ("python", "torch", "transformers", "tokenizers", "datasets", "numpy")
            packages = ", ".join(f"{name} {versions[name]}" for name in named if versions.get(name))
            found[key] = Revision(next(letters), code, packages)
        found[key].cells.append(run.name)
    return found


def make_revision_key(run: Run) -> str:
    """Return a key that runs of the same code and packages share."""
    environment = run.head.environment
    source = None if environment.source is None else environment.source.to_plain()
    return write_canonical([source, dict(environment.versions)])


def list_letters(runs: Iterable[Run], revisions: Mapping[str, Revision]) -> list[str]:
    """Return the letters of the revisions that ``runs`` came from, in order."""
    return sorted({revisions[make_revision_key(run)].letter for run in runs})


# --------------------------------------------------------------------------- captions

NO_THRESHOLDS = "No threshold is involved."
SAID = (
    "Intervals in brackets: 95 % over samples, for these seeds. ± is the standard deviation between seeds. "
    "“Both” is the 95 % interval over seeds and samples (two-level bootstrap)."
)


def describe_panel(panel: Panel) -> str:
    """Return what a panel's models are and were asked: data, backbone, lengths."""
    run = panel.series[0].first
    task, backbone, spec = run.record.task, run.record.backbone, run.spec
    init = "trained from scratch" if spec.init == "scratch" else spec.init
    parts = [f"{task.name} from {task.source}", f"split {panel.split}", describe_sizes(panel.series)]
    if backbone.hidden is None:
        parts.append(f"{panel.backbone} (external logits, its backbone is not named), {panel.layers} exits")
    else:
        model = f"{backbone.model_type}, {init}"
        parts.append(f"{panel.backbone} ({model}), {panel.layers} layers of width {backbone.hidden}")
    parts.append(f"at most {spec.max_length} tokens")
    return "; ".join(parts) + "."


def describe_sizes(series: Sequence[Series]) -> str:
    """Return ``n = 872/872, trained on 15000/67349``: used of available."""
    reported = _join_counts(run.describe_used(s.split) for s in series for run in s.runs)
    trained = _join_counts(run.describe_used("train") for s in series for run in s.runs)
    return f"n = {reported}" + (f", trained on {trained}" if trained != "unknown" else "")


def describe_source(series: Sequence[Series]) -> str:
    """Return sizes, seeds and machines of ``series``, where thresholds come from, and what the intervals are over."""
    words = f"{describe_runs(series)} {describe_thresholds(series)}"
    return f"{words} {SAID}" if any(len(s.runs) > 1 for s in series) else words


def describe_lowest_seeds(series: Sequence[Series]) -> str:
    """Return sizes, seeds and machines where the lowest seed of each series alone is drawn, at no threshold."""
    return f"{describe_runs([replace(s, runs=s.runs[:1]) for s in series])} {NO_THRESHOLDS}"


def describe_timings(panels: Sequence[Panel]) -> str:
    """Return the caption of everything that was timed: on how many samples, with which seeds, where."""
    timed = []
    for series in (s for panel in panels for s in panel.series):
        points = [result.reached.values() for result in series.results]
        runs = tuple(r for r, some in zip(series.runs, points, strict=True) if any(p.latency for p in some))
        timed += [replace(series, runs=runs)] if runs else []
    asked = [run.spec.latency for s in timed for run in s.runs]
    samples = _join_counts(str(args.samples) for args in asked if args is not None)
    return f"Timed on {samples} samples of each; {describe_runs(timed)} {describe_thresholds(timed)}"


def describe_runs(series: Sequence[Series]) -> str:
    """Return ``n = 872/872, trained on 15000/67349; seeds 0, 1; machine 075480a1530e.``"""
    runs = [run for s in series for run in s.runs]
    every, where = sorted({run.seed for run in runs}), list(dict.fromkeys(find_machine(run) for run in runs))
    seed = f"{'seed' if len(every) == 1 else 'seeds'} {', '.join(map(str, every)) or 'none'}"
    machine = f"{'machine' if len(where) == 1 else 'machines'} {', '.join(where) or 'unknown'}"
    return f"{describe_sizes(series)}; {seed}; {machine}."


def describe_thresholds(series: Sequence[Series], rules: Collection[str] = ()) -> str:
    """Return where the operating points' thresholds come from; where ``rules`` are named, of those points alone."""
    points = [point for s in series for result in s.results for point in result.points]
    chosen = {point.chosen_on for point in points if not rules or point.rule in rules}
    said = []
    if "select" in chosen:
        held = _join_counts(run.describe_used(run.record.task.select) for s in series for run in s.runs)
        own = dict.fromkeys(run.record.task.metrics[0] for s in series for run in s.runs if run.judged)
        by = f", by {' or '.join(map(title_metric, own))}" if own else ""
        said.append(f"Thresholds of operating points were chosen on {held} samples held out of train{by}.")
        shared = [run.record.criterion.held_out for s in series for run in s.runs if run.record.criterion]
        halves = _join_counts(f"{each.fitted_on} and {each.chosen_on}" for each in shared if each and each.apart)
        if halves != "unknown":
            said.append(f"Criteria that are fitted share them: {halves}, to fit and to choose.")
    if "given" in chosen:
        said.append("Thresholds named by their number were given by the user.")
    if "default" in chosen:
        said.append("The point “default” has the criterion's own default threshold.")
    return " ".join(said) or NO_THRESHOLDS


def _join_counts(counts: Iterable[str]) -> str:
    found = sorted({c for c in counts if c != "unknown"})
    return " or ".join(found) or "unknown"
