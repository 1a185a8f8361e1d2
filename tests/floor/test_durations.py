"""Times as they are typed."""

from __future__ import annotations

import pytest

from bench.cli.process import main
from bench.errors import UsageError
from bench.settings import parse_duration


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("90", 90), ("90s", 90), ("5m", 300), ("1.5h", 5400)])
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text, "--wait-quiet") == seconds


@pytest.mark.parametrize("text", ["", "m", "5 minutes", "-1", "nan", "inf", "5mm", "1d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--wait-quiet takes a time such as 90s, 5m or 1h, not"):
        parse_duration(text, "--wait-quiet")


def test_the_command_refuses_it_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--strategy", "entropy", "--task", "demo", "--wait-quiet", "soon"]) == 2
    assert capsys.readouterr().err == "Error: --wait-quiet takes a time such as 90s, 5m or 1h, not 'soon'.\n"
