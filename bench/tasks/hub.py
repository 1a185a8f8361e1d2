"""Tasks whose data live on the Hugging Face hub, or in a local mirror of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from backbones.folders import take_first_line
from backbones.hubcalls import hide_bars, keep_offline, may_pass, name_cause, retry_call
from bench.errors import DataError, UserError
from bench.tasks.base import Kind, LoadOptions, Split, Task, TaskData
from bench.tasks.checks import RawTable, digest_files, make_split, read_class_numbers
from bench.tasks.labels import read_targets
from bench.tasks.sampling import hold_out, limit_split


class HubTask(Task):
    """A hub data set: sub-classes say where it is, which columns it has and how it is scored.

    ``revision`` pins the hub commit. ``published_rows`` are the split sizes that published numbers
    refer to; other sizes give a warning that is stored with the result. ``label_range`` bounds
    regression targets. Classes may be stored as numbers or by their names; ``drops_unlabelled`` leaves out
    the rows whose label is -1, before rows are counted.
    """

    dataset: ClassVar[str]
    config: ClassVar[str | None] = None
    revision: ClassVar[str]
    kind: ClassVar[Kind] = "classification"
    columns: ClassVar[tuple[str, ...]]
    label_names: ClassVar[tuple[str, ...]] = ()
    drops_unlabelled: ClassVar[bool] = False
    label_range: ClassVar[tuple[float, float]] = (float("-inf"), float("inf"))
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    evaluation: ClassVar[tuple[str, ...]] = ("validation",)
    published_rows: ClassVar[dict[str, int]]

    def load(self, options: LoadOptions) -> TaskData:
        """Load the data from ``hub_root/datasets/<id>`` where that exists, else from the hub at the pinned revision."""
        mirror = None if options.hub_root is None else options.hub_root / "datasets" / self.dataset
        if mirror is not None and mirror.is_dir():
            tables, revision = self._read_mirror(mirror)
            source = f"mirror of {self.dataset}"
        else:
            tables, revision = self._read_hub(options), self.revision
            source = f"hub {self.dataset}"
        splits = {table.split: self._split(table) for table in tables}
        train, select = hold_out(limit_split(splits["train"], options.limit), options)
        return TaskData(
            name=self.name,
            kind=self.kind,
            label_names=self.label_names,
            metrics=self.metrics,
            train=train,
            select=select,
            evaluation={name: limit_split(splits[name], options.limit) for name in self.evaluation},
            revision=revision,
            source=source,
            warnings=tuple(self._warnings(splits)),
        )

    @property
    def _label(self) -> str:
        return self.dataset if self.config is None else f"{self.dataset} {self.config}"

    @property
    def _wanted(self) -> tuple[str, ...]:
        return ("train", *self.evaluation)

    def _split(self, table: RawTable) -> Split:
        if self.kind == "regression":
            return make_split(table, self.columns, read_targets(table, *self.label_range), blank_allowed=True)
        return make_split(table, self.columns, read_class_numbers(table, self.label_names), blank_allowed=True)

    def _warnings(self, splits: dict[str, Split]) -> Iterator[str]:
        for name, rows in self.published_rows.items():
            found = splits[name].available
            if found != rows:
                yield f"{name} has {found} of the published {rows} rows: not comparable with published numbers"
        for split in splits.values():
            blank = sum(not text.strip() for text in split.first + (split.second or ()))
            if blank:
                yield f"{split.name} has {blank} blank texts"

    def _read_mirror(self, folder: Path) -> tuple[list[RawTable], str]:
        """Return tables and content digest of a local copy in the hub's layout; nothing is written beside it."""
        import datasets
        from datasets.utils import logging

        # The Arrow copy that `datasets` makes goes to a folder that is gone afterwards: the mirror may be
        # read-only, and a cache keyed by path would outlive a changed file.
        with tempfile.TemporaryDirectory(prefix="exitbench-") as cache, hide_bars(logging):
            try:
                builder = datasets.load_dataset_builder(str(folder), self.config, cache_dir=cache)
                files = {str(k): v for k, v in (builder.config.data_files or {}).items()}
                self._require(files, f"the mirror of {self.dataset}")
                builder.download_and_prepare()
                tables = [self._table(builder.as_dataset(split=name), name) for name in self._wanted]
            except UserError:
                raise
            except Exception as error:
                raise DataError(
                    f"Cannot read '{self._label}' from the mirror: {take_first_line(error).rstrip('.')}. "
                    f"Copy the hub's files to datasets/{self.dataset} under the hub root, or drop --hub-root."
                ) from error
        used = [(f"{name}/{Path(f).name}", Path(f)) for name in self._wanted for f in files[name]]
        return tables, digest_files(used)

    def _read_hub(self, options: LoadOptions) -> list[RawTable]:
        import datasets

        with keep_offline(options.offline):
            try:
                found = retry_call(
                    self._label, lambda: datasets.load_dataset(self.dataset, self.config, revision=self.revision)
                )
            except Exception as error:
                if type(error).__name__ == "DatasetNotFoundError" and not options.offline:
                    raise DataError(
                        f"Data set '{self._label}' is gated, private or not on the hub: accept its terms at "
                        f"https://huggingface.co/datasets/{self.dataset} and log in (`hf auth login` or HF_TOKEN), or "
                        "use a local mirror (--hub-root)."
                    ) from error
                if options.offline or may_pass(error) or isinstance(error, ConnectionError):
                    why = (
                        "offline was asked for" if options.offline else f"the hub does not answer: {name_cause(error)}"
                    )
                    raise DataError(
                        f"Data set '{self._label}' is not at hand ({why}). Connect once to cache it, or give "
                        f"--hub-root DIR with the data set at DIR/datasets/{self.dataset}."
                    ) from error
                raise DataError(
                    f"Cannot load '{self._label}' from the hub at revision {self.revision[:12]}: "
                    f"{take_first_line(error).rstrip('.')}. "
                    "Check the installed version of the datasets package, or use a local mirror (--hub-root)."
                ) from error
        self._require(found, f"hub data set {self.dataset}")
        return [self._table(found[name], name) for name in self._wanted]

    def _require(self, splits: Any, where: str) -> None:
        for name in self._wanted:
            if name not in splits:
                there = ", ".join(sorted(map(str, splits))) or "none"
                raise DataError(
                    f"Split '{name}' of '{self._label}' is missing from {where} (there: {there}). Add its file there."
                )

    def _table(self, rows: Any, split: str) -> RawTable:
        where = f"{self._label} {split}"
        names = getattr(rows.features.get("label"), "names", None)
        if names is not None and tuple(names) != self.label_names:
            raise DataError(
                f"{where}: classes are {', '.join(names)}, expected {', '.join(self.label_names)}. "
                "Use the hub's own files."
            )
        wanted = [name for name in (*self.columns, "label") if name in rows.column_names]
        columns = {name: list(rows[name]) for name in wanted or rows.column_names}
        if self.label_names and "label" in columns:
            numbers: dict[object, int] = {name: i for i, name in enumerate(self.label_names)}
            columns["label"] = [numbers.get(value, value) for value in columns["label"]]
            if self.drops_unlabelled and not all(value == -1 for value in columns["label"]):  # -1: a secret label
                kept = [row for row, value in enumerate(columns["label"]) if value != -1]
                columns = {name: [values[row] for row in kept] for name, values in columns.items()}
        return RawTable(split, where, columns)
