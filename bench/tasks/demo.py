"""The built-in demo task: made-up reviews whose difficulty is known, for a harness that works with no network.

Each sentence has a grade, which its id tells (``demo-eval-0012-g3``):

- g1 plain: every sentiment word says the label;
- g2 negation: some of one to three clauses say it with "not" and the opposite word, or all is denied at the start;
- g3 contrast: two clauses disagree, and the main one ("although ..., X", "... but X", "X although ...") decides;
- g4 contrast with negated clauses;
- g5 look-up: two or three clauses disagree, some negated, and the end says whether the first, the second or the
  third counts;
- g0 unknowable: only lukewarm words, and the label is a coin's.

A bag of words solves g1 alone. To solve the others, words must first be bound within their clause and clauses
then be weighed, which takes a small model a layer each: deeper exits do help, while g1 needs none of them.
g0 bounds the accuracy of every model at 1 - share / 2 on average.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.tasks.base import LoadOptions, Split, Task, TaskData
from bench.tasks.sampling import hold_out, limit_split

# The data are the same for every run: only the held-out part of train depends on a run's seed.
GENERATOR_SEED = 1806
TRAIN_ROWS = 6000
EVALUATION_ROWS = 1000
# Share of each grade, in percent.
GRADES = {0: 5, 1: 40, 2: 15, 3: 10, 4: 15, 5: 15}

GOOD = "good great lovely excellent pleasant charming wonderful perfect superb friendly clean tasty".split()
BAD = "bad awful poor terrible dull dirty horrible nasty ugly rude cold bland".split()
LUKEWARM = "usual ordinary average typical common standard".split()
THINGS = "soup room bed staff view music garden pool price menu".split()
ORDINALS = "first second third".split()
LINKING_VERBS = "was seemed looked felt".split()
DENIALS = "not never".split()
DOUBTS = ["it is not true that", "nobody thinks that", "i doubt that"]
CARES = ["we only cared about", "all that counts is", "we came for", "in the end it is about"]
OPENINGS = ["last week", "on a rainy day", "to be honest ,", "as far as we saw ,", "in this old hotel", "this time"]
CLOSINGS = ["at night", "in the morning", "during our whole stay", "with the family", "for two days", "by the sea"]


class Demo(Task):
    """Built-in reviews of graded difficulty, no network needed; accuracy."""

    name = "demo"
    max_length = 48
    default_backbone = "albert-demo"
    # About half a minute on one core; a higher rate learns as fast and levels the exits out.
    training = {"epochs": 8, "lr": 1e-3, "batch_size": 32, "warmup": 0.1}

    def load(self, options: LoadOptions) -> TaskData:
        """Generate the data, always the same; ``options.seed`` draws the select split only."""
        evaluation, train = generate_splits()
        rows, select = hold_out(limit_split(train, options.limit), options)
        return TaskData(
            name=self.name,
            kind="classification",
            label_names=("negative", "positive"),
            metrics=("accuracy",),
            train=rows,
            select=select,
            evaluation={"evaluation": limit_split(evaluation, options.limit)},
            revision=_digest((train, evaluation)),
            source="built in",
        )


def generate_splits() -> tuple[Split, Split]:
    """Return the evaluation and the train split; no sentence occurs twice."""
    writer, seen = Writer(GENERATOR_SEED), set[str]()
    return (
        _split(writer, "evaluation", "demo-eval", EVALUATION_ROWS, seen),
        _split(writer, "train", "demo-train", TRAIN_ROWS, seen),
    )


def _split(writer: Writer, name: str, prefix: str, rows: int, seen: set[str]) -> Split:
    bag = [g for g, share in GRADES.items() for _ in range(share)]
    ids: list[str] = []
    texts: list[str] = []
    labels: list[int] = []
    while len(texts) < rows:
        level = writer.pick(bag)
        label = writer.below(2)
        text = writer.sentence(level, positive=label == 1)
        if text in seen:
            continue
        seen.add(text)
        ids.append(f"{prefix}-{len(ids):04d}-g{level}")
        texts.append(text)
        labels.append(label)
    return Split(name, tuple(ids), tuple(texts), None, np.array(labels, dtype=np.int64), rows)


def _digest(splits: Sequence[Split]) -> str:
    lines = (f"{i}\t{t}\t{y}\n" for s in splits for i, t, y in zip(s.ids, s.first, s.labels, strict=True))
    return f"sha256-{hashlib.sha256(''.join(lines).encode()).hexdigest()[:16]}"


class Writer:
    """Writes sentences from one stream of random numbers.

    Only ``Random.random`` is used, whose sequence Python guarantees to be the same in every version.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def below(self, n: int) -> int:
        """Return a whole number 0..n-1."""
        return int(self._random() * n)

    def pick(self, items: Sequence[Any]) -> Any:
        """Return one of ``items``."""
        return items[self.below(len(items))]

    def things(self, n: int) -> list[str]:
        """Return ``n`` different things to speak of."""
        chosen: list[str] = []
        while len(chosen) < n:
            thing = self.pick(THINGS)
            if thing not in chosen:
                chosen.append(thing)
        return chosen

    def clause(self, thing: str, positive: bool, denied: bool = False) -> str:
        """Return one statement on one thing; ``denied`` says the same by negating the opposite word."""
        word = self.pick(GOOD if positive != denied else BAD)
        denial = f" {self.pick(DENIALS)}" if denied else ""
        return f"the {thing} {self.pick(LINKING_VERBS)}{denial} {word}"

    def sentence(self, level: int, positive: bool) -> str:
        """Return a sentence of the given grade and label, at times with an opening and a closing that say nothing."""
        kinds = (self._lukewarm, self._plain, self._negation, self._contrast, self._negated_contrast, self._look_up)
        text = kinds[level](positive)
        if self.below(3) == 0:
            text = f"{self.pick(OPENINGS)} {text}"
        if self.below(3) == 0:
            text = f"{text} {self.pick(CLOSINGS)}"
        return f"{text} ."

    def _lukewarm(self, positive: bool) -> str:
        """Return a text that tells no label: it is drawn before, and not used."""
        return " and ".join(
            f"the {thing} {self.pick(LINKING_VERBS)} {self.pick(LUKEWARM)}" for thing in self.things(1 + self.below(3))
        )

    def _plain(self, positive: bool) -> str:
        return " and ".join(self.clause(thing, positive) for thing in self.things(1 + self.below(3)))

    def _negation(self, positive: bool) -> str:
        if self.below(4) == 0:
            return f"{self.pick(DOUBTS)} {self.clause(self.pick(THINGS), not positive)}"
        things = self.things(1 + self.below(3))
        denied = self.below(len(things))  # this one at least is denied
        return " and ".join(self.clause(t, positive, i == denied or self.below(3) == 0) for i, t in enumerate(things))

    def _contrast(self, positive: bool) -> str:
        main, side = self.things(2)
        return self._weigh(self.clause(main, positive), self.clause(side, not positive))

    def _negated_contrast(self, positive: bool) -> str:
        main, side, third = self.things(3)
        which = self.below(3)  # the main clause is negated, the side clause, or both
        sides = [self.clause(side, not positive, denied=which != 0)]
        if self.below(2) == 0:
            sides.append(self.clause(third, not positive, denied=self.below(2) == 0))
        return self._weigh(self.clause(main, positive, denied=which != 1), " and ".join(sides))

    def _weigh(self, main: str, side: str) -> str:
        return self.pick([f"although {side} , {main}", f"{side} but {main}", f"{main} although {side}"])

    def _look_up(self, positive: bool) -> str:
        things = self.things(2 + self.below(2))
        chosen = self.below(len(things))
        clauses = [
            self.clause(thing, positive == (i == chosen), denied=self.below(3) == 0) for i, thing in enumerate(things)
        ]
        return f"{' and '.join(clauses)} , {self.pick(CARES)} the {ORDINALS[chosen]}"
