"""Tables on terminals of any width: no number is cut, and where there is no room for columns, rows become lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from bench.text import LONGEST_WORD, TextConsole, build_table, fit_widths
from strategies import STRATEGIES

COLUMNS = ["way", "ms a text, batch 1", "speed-up, batch 1", "ms a text, batch 32", "changed", "accuracy", "mean exit"]
CELLS = ["1117.75", "10.88x [10.84, 12.92]", "18.27", "4.2 % [2.8, 6.1]", "0.898 [0.872, 0.920]", "12.17"]
NONE = ["torch.compile", "cannot run", *"–––––"]


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_no_width_cuts_a_number(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    TextConsole(width=width).print(build_table("Ways", COLUMNS, [["early exit", *CELLS], NONE], right=COLUMNS[1:]))
    printed = capsys.readouterr().out
    assert all(len(line) <= width for line in printed.splitlines())
    assert all(word in printed for cell in CELLS for word in cell.split())
    assert ("┃" in printed) == (width > 60)
    assert ("    accuracy: 0.898 [0.872, 0.920]" in [line.rstrip() for line in printed.splitlines()]) == (width <= 60)


def test_what_a_row_has_not_is_left_out_of_its_list(capsys: pytest.CaptureFixture[str]) -> None:
    TextConsole(width=60).print(build_table("Ways", COLUMNS, [NONE]))
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed == ["Ways", "* torch.compile", "    ms a text, batch 1: cannot run"]


def test_a_column_without_a_name_leaves_no_colon_in_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    TextConsole(width=20).print(build_table("", ["exit", "sure", ""], [["3 to 4", "0.526 to 0.535", "leaves here"]]))
    printed = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert printed[-1] == "leaves here"


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_name_of_no_strategy_is_broken(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    names = list(STRATEGIES)
    cells = [[name, "0.862 [0.841, 0.882]", "2.16x", "within noise, -0.000 [-0.008, +0.007]"] for name in names]
    TextConsole(width=width).print(build_table("2x or more", ["strategy", "accuracy", "speed-up", "best"], cells))
    printed = capsys.readouterr().out
    assert [name for name in names if name not in printed] == []


@given(
    columns=some.lists(some.lists(some.text("ab ", max_size=40), min_size=1, max_size=4), min_size=1, max_size=5),
    room=some.integers(1, 120),
)
def test_widths_fill_no_more_than_the_room_and_break_no_word(columns: list[list[str]], room: int) -> None:
    found = fit_widths(columns, room)
    longest = [max((len(word) for text in texts for word in text.split()), default=1) for texts in columns]
    least = [min(length, LONGEST_WORD) for length in longest]
    if found is None:
        assert sum(least) > room
        return
    assert sum(found) <= room
    assert all(width >= needed for width, needed in zip(found, least, strict=True))
