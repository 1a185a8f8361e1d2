"""What is asked: the table of tasks and the way from a name on the command line to a task.

Listing names imports nothing but the standard library; a task's module is imported when it is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from backbones.names import Registry, blame_maker, expand_home, is_ours
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.tasks.base import Task

TASKS: Registry[type[Task]] = Registry(
    "task",
    {
        "demo": "bench.tasks.demo:Demo",
        "cola": "bench.tasks.glue:CoLA",
        "sst2": "bench.tasks.glue:SST2",
        "mrpc": "bench.tasks.glue:MRPC",
        "qqp": "bench.tasks.glue:QQP",
        "stsb": "bench.tasks.glue:STSB",
        "mnli": "bench.tasks.glue:MNLI",
        "qnli": "bench.tasks.glue:QNLI",
        "rte": "bench.tasks.glue:RTE",
        "wnli": "bench.tasks.glue:WNLI",
        "snli": "bench.tasks.nli:SNLI",
        "scitail": "bench.tasks.nli:SciTail",
        "20_newsgroups": "bench.tasks.text:TwentyNewsgroups",
        "ag_news": "bench.tasks.text:AGNews",
        "dbpedia": "bench.tasks.text:DBpedia",
        "imdb": "bench.tasks.text:IMDB",
        "yelp_polarity": "bench.tasks.text:YelpPolarity",
        "yelp_review_full": "bench.tasks.text:YelpReviewFull",
    },
    base="bench.tasks.base:Task",
    group="exitbench.tasks",
)

TASK_GROUPS: Mapping[str, tuple[str, ...]] = {
    "glue": ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli"),
    "elue": ("sst2", "imdb", "snli", "scitail", "mrpc", "stsb"),
}
"""Names that stand for several tasks: GLUE's nine, and those of ELUE (Liu et al., NAACL 2022)."""


def find_task_name(name: str) -> str:
    """Return the listed task that ``name`` spells in any case, with dashes or without; a file or folder stays one."""
    return name if name in TASKS or os.path.exists(expand_home(name)) else TASKS.find_name(name)


def get_task(name: str) -> Task:
    """Return the task that ``name`` stands for: a listed name, ``package.module:Class``, a folder of data or a file.

    A listed name wins over a folder of the same name; write ``./name`` for the folder. A file is shared out, and
    ``FILE+TEXTS`` fits on a second one (:mod:`bench.tasks.file`).
    Raises :class:`bench.errors.UsageError` for a name that is none of these.
    """
    if name not in TASKS:
        folder = expand_home(name)
        if os.path.isdir(folder):  # pathlib fails on names that no folder can have
            from bench.tasks.folder import FolderTask

            return FolderTask(folder)
        if os.path.isfile(folder) or "+" in name:
            from bench.tasks.file import find_file_task

            if (found := find_file_task(name)) is not None:
                return found
        if os.path.isfile(folder):
            raise UsageError(f"Task '{name}' is a file. Give the folder that it and the other splits' files are in.")
        if "/" in name or "\\" in name:
            raise UsageError(f"Task folder '{name}' does not exist. Give a folder with train.* and validation.* files.")
    kind = TASKS.load(name)
    if is_ours(kind):
        return kind()
    from bench.tasks.contract import check_task

    with blame_maker(kind, f"Task '{name}'"):
        return check_task(kind(), name)
