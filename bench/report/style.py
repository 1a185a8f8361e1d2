"""One fixed look per strategy, on every chart and in every format.

Colours are Okabe & Ito's (2008), which stay apart for colour-blind readers; yellow is left out, which is not seen on
white paper. There are more strategies than colours, so dash pattern and marker differ too, and every line is named.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

COLOURS = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "grey": "#7F7F7F",
}
MARKERS = ("o", "s", "D", "^", "v", "P", "X")  # matplotlib's names
DASHES = ("", "5 2.5", "1.5 2", "7 2 1.5 2")  # SVG's names; lengths in line widths' units


@dataclass(frozen=True)
class Look:
    """Colour name, marker and dash pattern of a strategy."""

    colour: str
    marker: str
    dash: str

    @property
    def hex(self) -> str:
        """The colour as #RRGGBB."""
        return COLOURS[self.colour]


LOOKS = {
    "elbert-mono": Look("blue", "o", ""),
    "elbert-range": Look("sky", "s", ""),
    "elbert-label": Look("blue", "D", "5 2.5"),
    "entropy": Look("vermillion", "s", ""),
    "deebert": Look("orange", "D", ""),
    "fastbert": Look("green", "^", ""),
    "patience": Look("purple", "v", ""),
    "romebert": Look("green", "P", "5 2.5"),
    "fixed-exit": Look("grey", "X", "1.5 2"),
    "random": Look("grey", "o", "5 2.5"),
    "full": Look("grey", "s", ""),
    "truncated": Look("grey", "D", "7 2 1.5 2"),
    "oracle-correct": Look("vermillion", "X", "1.5 2"),
    "oracle-consistent": Look("purple", "P", "1.5 2"),
}


def look(strategy: str) -> Look:
    """The look of a strategy; one that is not in the table gets one from its name, always the same."""
    if strategy in LOOKS:
        return LOOKS[strategy]
    number = zlib.crc32(strategy.encode("utf-8", "surrogatepass"))
    names = list(COLOURS)
    return Look(names[number % 7], MARKERS[number // 7 % 7], DASHES[number // 49 % 4])
