"""The pytest plug-in: one test item a property of each name in ``exitbench_check``, or after --exitbench-check.

[tool.pytest.ini_options]
exitbench_check = ["my_margin:Margin"]
"""

from __future__ import annotations

from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option and the setting."""
    said = "strategies, criteria, heads or recipes (module:Name) whose properties ExitBench checks"
    parser.addini("exitbench_check", said, type="linelist", default=[])
    group = parser.getgroup("exitbench")
    group.addoption("--exitbench-check", action="append", default=[], metavar="MODULE:NAME", help=said)


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add an item a property."""
    names = dict.fromkeys([*config.getini("exitbench_check"), *config.getoption("--exitbench-check")])
    if not names:
        return
    from backbones.errors import UserError
    from bench.selfcheck.properties.check import list_questions

    for name in names:
        try:
            questions = list_questions(name)
        except UserError as error:
            raise pytest.UsageError(str(error)) from None
        for question in questions:
            title = f"{name}::{question.name.replace(': ', '::')}"
            items.append(PropertyItem.from_parent(session, name=title, question=question))


class BrokenProperty(Exception):
    """A property that does not hold, as the report says it."""


class PropertyItem(pytest.Item):
    """One property of one class."""

    def __init__(self, *, question: Any, **given: Any) -> None:
        super().__init__(**given)
        self.question = question

    def runtest(self) -> None:
        """Ask, and fail with what was found on the smallest example."""
        from bench.selfcheck.properties.contract import find_broken

        broken = find_broken(self.question.asked, self.question.subject)
        if broken is not None:
            said = f"{self.question.asked.says}\n{broken.found}\nsmallest example: {broken.describe_example()}"
            raise BrokenProperty(said)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the finding without a traceback of ours."""
        return str(excinfo.value) if isinstance(excinfo.value, BrokenProperty) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Return what stands for it in the report."""
        return self.path, None, self.name
