"""One fixed look per strategy, on every chart and in every format.

Colours are Okabe & Ito's (2008), which stay apart for colour-blind readers, without yellow, which is not seen on white
paper, and with Tol's wine. Every published system has a colour of its own; what never leaves early and what knows too
much are grey. There are more strategies than colours: no two listed ones share both colour and marker, bars carry their
strategy's marker, and everything is named.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product

from strategies import STRATEGIES

COLOURS = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "wine": "#882255",
    "grey": "#7F7F7F",
}
MARKERS = ("o", "s", "D", "^", "v", "P", "X")  # matplotlib's names
DASHES = ("", "5 2.5", "1.5 2", "7 2 1.5 2")  # as SVG says them; lengths in line widths


@dataclass(frozen=True)
class Look:
    """Colour (a name of :data:`COLOURS` or #RRGGBB), marker and dash pattern, of a strategy as a rule."""

    colour: str
    marker: str
    dash: str

    @property
    def hex(self) -> str:
        """The colour as #RRGGBB."""
        return COLOURS.get(self.colour, self.colour)


def darken_colour(code: str, share: float = 0.28) -> str:
    """Return the colour #RRGGBB with a ``share`` of black, for letters, which are thinner than what they name."""
    return "#" + "".join(f"{round(int(code[i : i + 2], 16) * (1 - share)):02x}" for i in (1, 3, 5))


LOOKS = {
    "elbert-mono": Look("blue", "o", ""),
    "elbert-range": Look("blue", "s", "1.5 2"),
    "elbert-label": Look("blue", "D", "5 2.5"),
    "deebert": Look("vermillion", "s", "5 2.5"),
    "fastbert": Look("green", "^", ""),
    "patience": Look("purple", "v", "1.5 2"),
    "romebert": Look("sky", "P", "5 2.5"),
    "learned-exit": Look("wine", "X", "7 2 1.5 2"),
    "entropy": Look("orange", "D", "7 2 1.5 2"),
    "budget": Look("green", "D", "5 2.5"),
    "temperature": Look("purple", "o", "7 2 1.5 2"),
    "energy": Look("sky", "s", "1.5 2"),
    "prototypes": Look("vermillion", "P", ""),
    "fixed-exit": Look("grey", "X", "1.5 2"),
    "random": Look("grey", "o", "1.5 2"),
    "full": Look("grey", "s", ""),
    "truncated": Look("grey", "D", "7 2 1.5 2"),
    "oracle-correct": Look("grey", "^", "5 2.5"),
    "oracle-consistent": Look("grey", "v", "5 2.5"),
}
"""Looks chosen by hand; every other strategy gets one that is free."""


def choose_look(strategy: str) -> Look:
    """Return the look of a strategy: by hand, a free one for what is listed, else one that its name gives."""
    listed = _assign_listed()
    return listed[strategy] if strategy in listed else assign_looks([strategy], listed.values())[strategy]


@cache
def _assign_listed() -> dict[str, Look]:
    return {**assign_looks((name for name in STRATEGIES if name not in LOOKS), LOOKS.values()), **LOOKS}


def assign_looks(names: Iterable[str], given: Iterable[Look]) -> dict[str, Look]:
    """Return looks for ``names`` beside those ``given`` already: no colour and marker twice while there are free ones.

    Each name starts where its own checksum points, so that a new strategy seldom changes another one's look. Grey is
    for controls.
    """
    pairs = list(product([c for c in COLOURS if c != "grey"], MARKERS))
    taken = {(one.colour, one.marker) for one in given}
    found = {}
    for name in sorted(names):
        first = zlib.crc32(name.encode("utf-8", "surrogatepass")) % len(pairs)
        turned = pairs[first:] + pairs[:first]
        colour, marker = next((pair for pair in turned if pair not in taken), turned[0])
        taken.add((colour, marker))
        found[name] = Look(colour, marker, DASHES[MARKERS.index(marker) % len(DASHES)])
    return found
