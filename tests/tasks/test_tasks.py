"""The table of tasks, sampling, and hub tasks read from a mirror written by the test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli.session import Session
from bench.errors import DataError, UsageError
from bench.measure.metrics import METRICS
from bench.tasks import TASK_GROUPS, TASKS, get_task
from bench.tasks.base import LoadOptions, Split
from bench.tasks.hub import HubTask
from bench.tasks.sampling import hold_out, limit_split

HUB_TASKS = [name for name in TASKS if issubclass(TASKS.load(name), HubTask)]
GLUE = "cola sst2 mrpc qqp stsb mnli qnli rte wnli".split()


def split_of(labels: list[int] | list[float]) -> Split:
    n = len(labels)
    kind = np.int64 if isinstance(labels[0], int) else np.float32
    ids = tuple(f"train-{i}" for i in range(n))
    return Split("train", ids, tuple(f"text {i}" for i in range(n)), None, np.array(labels, kind), n)


def write_mirror(root: Path, task: HubTask, rows: int = 20, **changes: list[object]) -> Path:
    """A mirror with ``rows`` rows in each split of ``task``; ``changes`` replaces columns of every split."""
    folder = root / "datasets" / task.dataset
    part = task.config or "data"
    (folder / part).mkdir(parents=True)
    listed = []
    for name in ("train", *task.evaluation):
        number = max(len(task.label_names), 1)
        labels: list[object] = [i % number if number > 1 else i % 6 * 0.8 for i in range(rows)]
        columns: dict[str, list[object]] = {c: [f"{name} {c} {i}" for i in range(rows)] for c in task.columns}
        columns |= {"label": labels} | changes
        table = pa.table({key: value for key, value in columns.items() if value})
        pa.parquet.write_table(table, folder / part / f"{name}-00000-of-00001.parquet")
        listed.append(f"{{split: {name}, path: {part}/{name}-*}}")
    config = f"- config_name: {task.config or 'default'}\n  data_files: [{', '.join(listed)}]"
    (folder / "README.md").write_text(f"---\nconfigs:\n{config}\n---\n", encoding="utf-8")
    return root


def hub_task(name: str) -> HubTask:
    task = get_task(name)
    assert isinstance(task, HubTask)
    return task


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from bench.tasks import TASKS; names = list(TASKS);"
        "said = dict(TASKS.summaries()); assert list(said) == names; assert all(said.values()), said;"
        "print(len(names), sorted({'torch', 'numpy', 'datasets', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, _, heavy = done.stdout.strip().partition(" ")
    assert int(count) >= len(TASKS.builtin)
    assert heavy == "[]"


def test_all_of_glue_is_there() -> None:
    assert set(GLUE) <= set(TASKS)


@pytest.mark.parametrize("name", TASKS.builtin)
def test_entries_say_who_they_are(name: str) -> None:
    task = get_task(name)
    assert task.name == name
    assert task.max_length > 0


@pytest.mark.parametrize("name", HUB_TASKS)
def test_hub_tasks_are_pinned_and_complete(name: str) -> None:
    task = hub_task(name)
    assert len(task.revision) == 40
    assert set(task.metrics) <= set(METRICS)
    assert set(task.published_rows) == {"train", *task.evaluation}
    assert (task.kind == "regression") == (not task.label_names)


def test_unknown_names_suggest() -> None:
    with pytest.raises(UsageError, match=r"Unknown task 'sst'\. Did you mean 'sst2'"):
        get_task("sst")
    with pytest.raises(UsageError, match="folder 'no/such' does not exist"):
        get_task("no/such")


@pytest.mark.parametrize("name", HUB_TASKS)
def test_a_mirror_loads(name: str, tmp_path: Path) -> None:
    task = hub_task(name)
    root = write_mirror(tmp_path, task)
    before = sorted(root.rglob("*"))
    data = task.load(LoadOptions(hub_root=root, offline=True))
    assert sorted(root.rglob("*")) == before  # nothing is written beside the data
    assert (len(data.train), len(data.select)) == (18, 2)
    assert tuple(data.evaluation) == task.evaluation
    assert data.metrics == task.metrics
    for split in (data.train, data.select, *data.evaluation.values()):
        assert (split.second is not None) == (len(task.columns) == 2)
        assert split.labels.dtype == (np.float32 if task.kind == "regression" else np.int64)
    assert data.num_outputs == max(len(task.label_names), 1)
    assert data.revision.startswith("sha256-")
    assert "not comparable with published numbers" in data.warnings[0]
    assert not set(data.train.ids) & set(data.select.ids)


def test_pairs_without_agreement_are_left_out(tmp_path: Path) -> None:
    """SNLI's label -1; the rows that are left are counted, and a part whose labels are all secret is refused."""
    labels = [0, -1, 1, 2, -1, *[0, 1, 2] * 5]
    root = write_mirror(tmp_path / "some", hub_task("snli"), label=labels)
    data = hub_task("snli").load(LoadOptions(hub_root=root, offline=True))
    [test] = data.evaluation.values()
    assert test.labels.tolist() == [label for label in labels if label >= 0]
    assert test.first[:2] == ("test premise 0", "test premise 2")
    assert "test has 18 of the published 9824 rows" in data.warnings[1]
    secret = write_mirror(tmp_path / "secret", hub_task("snli"), label=[-1] * 20)
    with pytest.raises(DataError, match="every label is -1"):
        hub_task("snli").load(LoadOptions(hub_root=secret, offline=True))
    other = write_mirror(tmp_path / "other", hub_task("scitail"), label=[-1, *[0, 1] * 9, 1])
    with pytest.raises(DataError, match="Remove rows without a label"):
        hub_task("scitail").load(LoadOptions(hub_root=other, offline=True))


def test_classes_may_be_stored_by_name(tmp_path: Path) -> None:
    labels = ["neutral", "entails"] * 10
    data = hub_task("scitail").load(LoadOptions(hub_root=write_mirror(tmp_path, hub_task("scitail"), label=labels)))
    assert next(iter(data.evaluation.values())).labels.tolist() == [1, 0] * 10
    changed = write_mirror(tmp_path / "b", hub_task("scitail"), label=["entail", *labels[1:]])
    with pytest.raises(DataError, match=r"'entail' is outside the classes 0\.\.1 \(entails, neutral\)"):
        hub_task("scitail").load(LoadOptions(hub_root=changed))


def test_groups_stand_for_tasks_that_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(TASK_GROUPS["glue"]) == set(GLUE)
    assert all(set(tasks) <= set(TASKS) for tasks in TASK_GROUPS.values())
    assert not set(TASK_GROUPS) & set(TASKS)
    found = Session().read_tasks("rte,ELUE,sst2")
    assert found == ["rte", *TASK_GROUPS["elue"]]
    assert "--task ELUE: sst2, imdb, snli, scitail, mrpc, stsb." in capsys.readouterr().err


def test_mnli_has_two_evaluation_splits_of_its_own_rows(tmp_path: Path) -> None:
    task = hub_task("mnli")
    data = task.load(LoadOptions(hub_root=write_mirror(tmp_path, task)))
    for name, split in data.evaluation.items():
        assert split.first[0] == f"{name} premise 0"
        assert split.ids[0] == f"{name}-0"


def test_revision_follows_the_contents(tmp_path: Path) -> None:
    task = hub_task("rte")
    roots = [write_mirror(tmp_path / str(i), task, rows) for i, rows in enumerate((20, 20, 22))]
    revisions = [task.load(LoadOptions(hub_root=root)).revision for root in roots]
    assert revisions[0] == revisions[1] != revisions[2]


BAD_COLUMNS = {
    "missing text": ({"sentence1": []}, r"no column 'sentence1' \(columns: label, sentence2\)"),
    "missing label": ({"label": []}, "no column 'label'"),
    "null text": ({"sentence2": ["a", None, "b", "c"]}, "row 2: 'sentence2' is NULL"),
    "null label": ({"label": [0, 1, None, 0]}, "row 3: label is empty"),
    "outside": ({"label": [0, 1, 1, 2]}, r"row 4: label 2 is outside the classes 0..1"),
    "negative": ({"label": [0, -1, 1, 1]}, r"row 2: label -1 is outside"),
    "secret": ({"label": [-1] * 4}, "every label is -1"),
    "text label": ({"label": ["yes", "no", "no", "no"]}, "row 1: label 'yes' is outside"),
}


@pytest.mark.parametrize("case", BAD_COLUMNS)
def test_bad_hub_data_is_one_line(case: str, tmp_path: Path) -> None:
    changes, message = BAD_COLUMNS[case]
    task = hub_task("rte")
    root = write_mirror(tmp_path, task, rows=4, **changes)
    with pytest.raises(DataError, match=message) as caught:
        task.load(LoadOptions(hub_root=root))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("nyu-mll/glue rte train")


def test_regression_range_is_checked(tmp_path: Path) -> None:
    task = hub_task("stsb")
    root = write_mirror(tmp_path, task, rows=3, label=[0.0, 5.5, 1.0])
    with pytest.raises(DataError, match=r"row 2: label 5\.5 is outside 0\.\.5"):
        task.load(LoadOptions(hub_root=root))


def test_a_mirror_without_the_config_or_the_files_says_so(tmp_path: Path) -> None:
    root = write_mirror(tmp_path, hub_task("rte"))
    with pytest.raises(DataError, match="Cannot read 'nyu-mll/glue wnli' from the mirror") as caught:
        get_task("wnli").load(LoadOptions(hub_root=root))
    assert "\n" not in str(caught.value)
    (root / "datasets" / "nyu-mll" / "glue" / "rte" / "validation-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError) as caught:
        get_task("rte").load(LoadOptions(hub_root=root))
    assert "\n" not in str(caught.value)


def test_offline_without_a_copy_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"offline was asked for.*--hub-root DIR") as caught:
        get_task("imdb").load(LoadOptions(hub_root=tmp_path, offline=True))
    assert "\n" not in str(caught.value)


# --- sampling ----------------------------------------------------------------------------------------


@given(
    labels=st.lists(st.integers(0, 3), min_size=2, max_size=300),
    seed=st.integers(0, 1000),
    fraction=st.floats(0, 1),
    most=st.integers(1, 50),
)
def test_hold_out_parts_the_rows(labels: list[int], seed: int, fraction: float, most: int) -> None:
    whole = split_of(labels)
    options = LoadOptions(seed=seed, select_fraction=fraction, select_max=most)
    train, select = hold_out(whole, options)
    assert sorted(train.ids + select.ids) == sorted(whole.ids)
    assert len(select) == min(max(1, min(int(fraction * len(labels)), most)), len(labels) - 1)
    assert hold_out(whole, options)[1].ids == select.ids
    if len(select) <= sum(max(labels.count(c) - 1, 0) for c in range(4)):
        assert set(train.labels) == set(labels)  # no class is emptied out of train


def test_hold_out_keeps_proportions_and_follows_the_seed() -> None:
    whole = split_of([0] * 700 + [1] * 300)
    parts = [hold_out(whole, LoadOptions(seed=seed))[1] for seed in (0, 1)]
    assert [int(part.labels.sum()) for part in parts] == [30, 30]
    assert parts[0].ids != parts[1].ids


def test_hold_out_is_the_same_everywhere() -> None:
    """Frozen rows: they must not differ between platforms or versions."""
    select = hold_out(split_of([0, 1] * 30), LoadOptions(seed=7))[1]
    assert select.ids == FROZEN


FROZEN = ("train-0", "train-16", "train-19", "train-37", "train-53", "train-54")


def test_one_row_cannot_be_parted() -> None:
    with pytest.raises(DataError, match="at least 2"):
        hold_out(split_of([1]), LoadOptions())


@given(rows=st.integers(2, 200), small=st.integers(1, 200), large=st.integers(1, 200))
def test_limits_are_nested_and_ordered(rows: int, small: int, large: int) -> None:
    whole = split_of([0.5] * rows)
    small, large = sorted((small, large))
    few, many = limit_split(whole, small), limit_split(whole, large)
    assert len(few) == min(small, rows)
    assert set(few.ids) <= set(many.ids)
    assert few.available == rows
    positions = [whole.ids.index(i) for i in few.ids]
    assert positions == sorted(positions)


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="limit of 0"):
        limit_split(split_of([0, 1]), 0)


# --- real data ---------------------------------------------------------------------------------------

REAL = {"rte": (2490, 277), "mrpc": (3668, 408), "stsb": (5749, 1500), "ag_news": (4999, 7600)}


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL)
def test_real_data_load(name: str, shared: Path) -> None:
    data = get_task(name).load(LoadOptions(hub_root=shared / "hub", offline=True, limit=1000))
    primary = data.primary
    assert (data.train.available, primary.available) == REAL[name]
    assert len(data.train) + len(data.select) == 1000
    assert len(primary) == min(1000, REAL[name][1])
    assert bool(data.warnings) == (name == "ag_news")


def test_a_limit_is_a_random_subset_and_not_the_first_rows() -> None:
    """A file is often sorted by class: the first 40 of 100 rows would be of one class only."""
    split = Split("s", tuple(map(str, range(100))), ("t",) * 100, None, np.repeat([0, 1], 50), 100)
    kept = [int(i) for i in limit_split(split, 40).ids]
    assert len(set(kept)) == 40
    assert kept == sorted(kept)
    assert 10 <= sum(i < 50 for i in kept) <= 30
    assert kept != list(range(40))
