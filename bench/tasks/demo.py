"""The built-in demo task: made-up reviews whose difficulty is known, for a harness that works with no network.

Each sentence has a grade, which its id tells (``demo-eval-0012-g3``):

- g1 plain: every sentiment word says the label;
- g2 negation: one or two clauses, some of which say it with "not" and the opposite word;
- g3 contrast: two clauses disagree, and the main one decides ("... but X", "X although ...");
- g4 contrast with negated clauses;
- g0 lukewarm: only words that suggest the label, four times in five.

A bag of words solves g1 alone. To solve the others, words must be bound within their clause and clauses be weighed. A
small ALBERT that is trained to the end does so in its first two or three layers: what is left to the deeper ones is
little, so that no-loss speed-ups here are far above those of real tasks. g0 bounds the accuracy of every model at
1 - share / 5 on average, and no depth makes a model sure of it: at a strict threshold a window alone lets it go.

Every clause has four words, so that what belongs together is always equally far apart: a model from scratch learns
that in a minute (seeds 0 to 2: `bench selfcheck demo`).
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
TRAIN_ROWS = 10000
EVALUATION_ROWS = 1000
# Share of each grade, in percent.
GRADES = {0: 16, 1: 26, 2: 18, 3: 18, 4: 22}

GOOD = "good great lovely pleasant charming superb clean perfect".split()
BAD = "bad awful poor terrible dull dirty nasty ugly".split()
FAIR = "fine decent adequate acceptable".split()
MODEST = "ordinary basic usual average".split()
THINGS = "soup room bed staff view music garden pool".split()
LINKING_VERBS = "was seemed looked felt".split()
STRESSES = "very quite really".split()
DENIALS = "not never hardly".split()
CLOSINGS = ["at night", "for two days", "by the sea"]


class Demo(Task):
    """Built-in reviews of graded difficulty, no network needed; accuracy."""

    name = "demo"
    max_length = 48
    default_backbone = "albert-12-demo"
    # About a minute on one core, past the descent of the loss with seeds 0 to 2. Twice the rate stays on a plateau.
    training = {"epochs": 9, "lr": 1e-3, "batch_size": 32, "warmup": 0.1}

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
        level, label = writer.pick(bag), writer.below(2)
        while (text := writer.sentence(level, positive=label == 1)) in seen:
            pass
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
        return f"{thing} {self.pick(LINKING_VERBS)} {self.pick(DENIALS if denied else STRESSES)} {word}"

    def sentence(self, level: int, positive: bool) -> str:
        """Return a sentence of the given grade and label, at times with a closing that says nothing."""
        kinds = (self._lukewarm, self._plain, self._negation, self._contrast, self._negated_contrast)
        text = kinds[level](positive)
        if self.below(6) == 0:
            text = f"{text} {self.pick(CLOSINGS)}"
        return f"{text} ."

    def _lukewarm(self, positive: bool) -> str:
        """Return a text whose words suggest the label four times in five."""
        words = FAIR if positive == (self.below(5) > 0) else MODEST
        return " and ".join(
            f"{thing} {self.pick(LINKING_VERBS)} {self.pick(STRESSES)} {self.pick(words)}"
            for thing in self.things(1 + self.below(2))
        )

    def _plain(self, positive: bool) -> str:
        return " and ".join(self.clause(thing, positive) for thing in self.things(1 + self.below(2)))

    def _negation(self, positive: bool) -> str:
        things = self.things(1 + self.below(2))
        denied = self.below(len(things))  # this one at least is denied
        return " and ".join(self.clause(t, positive, i == denied or self.below(3) == 0) for i, t in enumerate(things))

    def _contrast(self, positive: bool) -> str:
        main, side = self.things(2)
        return self._weigh(self.clause(main, positive), self.clause(side, not positive))

    def _negated_contrast(self, positive: bool) -> str:
        main, side = self.things(2)
        which = self.below(3)  # the main clause is negated, the side clause, or both
        return self._weigh(self.clause(main, positive, which != 1), self.clause(side, not positive, which != 0))

    def _weigh(self, main: str, side: str) -> str:
        return self.pick([f"{side} but {main}", f"{main} although {side}"])
