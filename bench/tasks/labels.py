"""Labels: a class label is its text, and a number only where the file says so.

A cell of CSV or TSV has no type: such a column is numeric where every cell spells a decimal number. A column of JSONL
or Parquet is numeric where its values are. Text is never taken for a number, so that 1E1 and 10, 01 and 1, nan and
infinity are classes like any other; numbers are compared exactly, and 1.0 is 1.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.tasks.checks import RawTable, check_encodable, check_present

DECIMAL_NOTATION = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
MISSING_WORDS = {"nan", "none", "null", "na", "n/a", "inf", "-inf", "infinity", "-infinity"}
NO_LABEL = "-1"  # the hub's convention for rows whose label is kept secret or was not agreed on
FLOAT32_MAX = float(np.finfo(np.float32).max)


def parse_number(text: str) -> Decimal | None:
    """Return the number that ``text`` spells in decimal notation, exactly; None for anything else."""
    if not DECIMAL_NOTATION.fullmatch(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond all bounds
        return None


@dataclass(frozen=True)
class Labels:
    """The label column of ``table``: ``texts`` as written (whole numbers of a numeric file without ``.0``)."""

    table: RawTable
    texts: tuple[str, ...]
    typed: bool
    """Whether the file itself says that the labels are numbers."""

    @cached_property
    def numbers(self) -> dict[str, Decimal] | None:
        """The number that each label spells; None where the column is text."""
        if self.table.typed and not self.typed:
            return None
        found = {text: parse_number(text) for text in set(self.texts)}
        kept = {text: number for text, number in found.items() if number is not None}
        return kept if len(kept) == len(found) else None

    def is_fractional(self) -> bool:
        """Return whether the column is numeric with a number that is not whole: targets of a regression."""
        return self.numbers is not None and any(n != n.to_integral_value() for n in self.numbers.values())

    def error(self, text: str, problem: str, remedy: str) -> DataError:
        """Return the error about the first row with the label ``text``."""
        return self.table.error(self.texts.index(text), problem, remedy)


def read_labels(table: RawTable) -> Labels:
    """Read the label column of a table.

    Raises DataError, naming the row, for a row without a label, for what is neither text nor a number, and for two
    spellings that fall together: 1 and "1" in one file, or a class with and without a blank behind it.
    """
    values = table.column("label")
    texts: list[str] = []
    spelled: dict[str, str] = {}
    for row, value in enumerate(values):
        text, spelling = _read_text(table, row, value)
        if spelled.setdefault(text, spelling) != spelling:
            raise table.error(
                row,
                f"label {spelling} and {spelled[text]} in row {texts.index(text) + 1} are one class by their text",
                "Write both alike.",
            )
        texts.append(text)
    return Labels(table, tuple(texts), all(_is_number(value) for value in values))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_text(table: RawTable, row: int, value: object) -> tuple[str, str]:
    """Return a label as text, and how the file spells it."""
    check_present(table, row, value)
    if isinstance(value, bool):
        return str(value).lower(), f"{str(value).lower()} (no text)"
    if isinstance(value, float) and math.isinf(value):
        raise table.error(row, f"label {value!r} is not finite", "Correct the label.")
    if isinstance(value, int | float):
        text = str(int(value)) if value == int(value) else repr(value)
        return text, f"{text} (a number)"
    if not isinstance(value, str):
        what = "an object" if isinstance(value, Mapping) else type(value).__name__
        raise table.error(row, f"label is {what}", "Give a class name or a number.")
    check_encodable(table, row, "label", value)
    return value.strip(), repr(value)


def find_class_names(labels: Labels) -> tuple[str, ...]:
    """Return the classes of train's labels: numbers in ascending order, texts in alphabetical order.

    Raises DataError where labels that are spelled differently are the same number, where -1 stands beside 0..C-1 and
    where "nan" stands among numbers: each may be meant, and ``labels.txt`` says that it is.
    """
    numbers = labels.numbers
    listed = "List the classes in labels.txt if each of them is one."
    if numbers is None:
        texts = set(labels.texts)
        words = sorted(text for text in texts if text.lower() in MISSING_WORDS)
        others = texts.difference(words)
        if words and others and all(parse_number(text) is not None for text in others):
            remedy = f"Fill in the label or remove the row. Otherwise: {listed}"
            raise labels.error(words[0], f"label '{words[0]}' stands among numbers", remedy)
        return tuple(sorted(texts))
    spelled: dict[Decimal, str] = {}
    for text, number in sorted(numbers.items()):
        other = spelled.setdefault(number, text)
        if other != text and not (text.isdigit() and other.isdigit()):  # 01 and 1 are codes
            row = labels.texts.index(other) + 1
            raise labels.error(text, f"label '{text}' and '{other}' in row {row} are the same number", listed)
    if set(spelled) == {Decimal(n) for n in range(-1, len(spelled) - 1)} and len(spelled) > 1:
        marked = spelled[Decimal(NO_LABEL)]
        rows = f"{labels.texts.count(marked)} of {len(labels.texts)} rows"
        problem = f"label {marked} beside 0..{len(spelled) - 2} marks rows without a label ({rows})"
        raise labels.error(marked, problem, f"Remove these rows. Otherwise: {listed}")
    return tuple(sorted(numbers, key=lambda text: (numbers[text], text)))


def find_hidden_numbers(labels: Labels) -> tuple[str, str] | None:
    """Return why labels that look like the targets of a regression are classes, and what would make them targets.

    None for numbers, and for texts that do not look like it: most must be fractions, with a point or a comma.
    """
    if labels.numbers is not None:
        return None
    spelled = {text: parse_number(text) for text in sorted(set(labels.texts))}
    others = [text for text, number in spelled.items() if number is None]
    commas = [text for text in others if DECIMAL_COMMA.fullmatch(text)]
    if commas and len(commas) == len(others):
        return f"labels are numbers with a decimal comma, such as '{commas[0]}'", "Write decimal points"
    if others:
        fractions = [text for text, n in spelled.items() if n is not None and n != n.to_integral_value()]
        if len(fractions) < len(others):
            return None
        return f"labels such as '{fractions[0]}' are numbers, and '{others[0]}' is none", "Correct what is no number"
    points = [text for text in spelled if not text.lstrip("+-").isdigit()]
    if not points:
        return None
    quoted = [value for value in labels.table.column("label") if isinstance(value, str)]
    if numbers := len(labels.texts) - len(quoted):
        return f"{numbers} labels are numbers and {len(quoted)} text, such as '{quoted[0]}'", "Write all without quotes"
    return f"labels are text that spells numbers, such as '{points[0]}'", "Write numbers without quotes"


def fold_spelling(text: str) -> str:
    """Return what spellings have in common that a reader takes for one: of case, blanks, hidden letters and accents."""
    shown = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", shown.casefold()).split())


def spell_apart(text: str, other: str) -> str:
    """Return ``text`` in quotes, by code points where it would look like ``other``."""
    same_case = fold_spelling(text) == fold_spelling(other) and text.isascii() and other.isascii()
    return repr(text) if same_case else ascii(text)


def warn_of_lookalikes(names: Sequence[str]) -> Iterator[str]:
    """Yield a warning for every two classes that a reader would take for one: a class is its text, so they are two."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(fold_spelling(name), name)
        if other != name:
            yield (
                f"the classes {spell_apart(other, name)} and {spell_apart(name, other)} differ only in how they are "
                "spelled, and are two: write both alike if they are one"
            )


@dataclass(frozen=True)
class ClassIndex:
    """What every label stands for, decided by train: the class of that name, or of that number."""

    names: tuple[str, ...]
    by_number: bool = False
    """Whether labels are class numbers 0..C-1 and not names."""

    def indices(self, labels: Labels) -> NDArray[np.int64]:
        """Return class indices, int64 [N]. Raises DataError for a label that is no class."""
        index = self._index(labels)
        if set(labels.texts) == {NO_LABEL} and NO_LABEL not in index:
            raise DataError(f"{labels.table.where}: every label is -1, so it has no labels. Use a labelled split.")
        for row, text in enumerate(labels.texts):
            if text not in index:
                raise labels.table.error(row, *self._unknown(text, labels))
        return np.array([index[text] for text in labels.texts], dtype=np.int64)

    def _index(self, labels: Labels) -> Mapping[str, int]:
        if self.by_number:
            return {str(i): i for i in range(len(self.names))}
        index = {name: i for i, name in enumerate(self.names)}
        if not labels.typed:
            return index
        by_value: dict[Decimal, int] = {}  # a numeric file writes 1.0 and 1 alike, whatever the class is called
        for i, name in enumerate(self.names):
            number = parse_number(name)
            if number is not None and by_value.setdefault(number, i) != i:
                other = self.names[by_value[number]]
                problem = f"labels are numbers, of which the classes '{other}' and '{name}' are the same one"
                raise DataError(f"{labels.table.where}: {problem}. Keep one of them in labels.txt.")
        numbers = {text: parse_number(text) for text in set(labels.texts)}
        return index | {text: by_value[n] for text, n in numbers.items() if n is not None and n in by_value}

    def _unknown(self, text: str, labels: Labels) -> tuple[str, str]:
        if text == NO_LABEL:
            rows = f"{labels.texts.count(NO_LABEL)} of {len(labels.texts)} rows"
            return f"label -1 marks rows without a label ({rows})", "Remove them."
        known = ", ".join(self.names[:10]) + (", ..." if len(self.names) > 10 else "")
        number = parse_number(text)
        same = [name for name in self.names if number is not None and parse_number(name) == number]
        remedy = f"Write it as '{same[0]}'." if same else "Correct it or add the class to train."
        alike = [name for name in self.names if fold_spelling(name) == fold_spelling(text)]
        if alike and not same:
            remedy = (
                f"It is {spell_apart(text, alike[0])} and the class is {spell_apart(alike[0], text)}: write both alike."
            )
        return f"unknown label '{text}' (classes: {known})", remedy


def number_classes(names: Iterable[str], train: Labels) -> ClassIndex:
    """Return what labels mean where ``labels.txt`` lists ``names``: these, or their numbers if train uses none."""
    named = ClassIndex(tuple(names))
    return ClassIndex(named.names, by_number=not set(named._index(train)) & set(train.texts))


def read_targets(table: RawTable, low: float = -math.inf, high: float = math.inf) -> NDArray[np.float32]:
    """Return regression targets within [low, high], float32 [N]. Raises DataError, naming the row."""
    numbers = []
    for row, value in enumerate(table.column("label")):
        check_present(table, row, value)
        number = _as_float(value)
        if number is None or math.isinf(number):
            raise table.error(row, f"label {value!r} is not a number", "This is a regression task: give a number.")
        if abs(number) > FLOAT32_MAX:
            raise table.error(row, f"label {number:g} is beyond the numbers of float32", "Correct or scale the labels.")
        numbers.append(number)
    if min(numbers) == max(numbers) == float(NO_LABEL) and low > float(NO_LABEL):
        raise DataError(f"{table.where}: every label is {NO_LABEL}, so it has no labels. Use a labelled split.")
    for row, number in enumerate(numbers):
        if not low <= number <= high:
            raise table.error(row, f"label {number:g} is outside {low:g}..{high:g}", "Correct the label.")
    return np.asarray(numbers, dtype=np.float32)


def _as_float(value: object) -> float | None:
    if isinstance(value, str):
        return float(value) if DECIMAL_NOTATION.fullmatch(value.strip()) else None
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return None
    try:
        return float(value)
    except OverflowError:
        return FLOAT32_MAX * 10
