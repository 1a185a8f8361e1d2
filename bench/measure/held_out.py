"""What held-out samples are used for: to fit a criterion, and to choose its thresholds, on samples of their own each.

A criterion knows the labels of the samples that it was fitted on. A threshold that is chosen on the same ones is
optimistic, and a certified one void: its proof needs samples that the criterion has never seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.measure.exits import AllExits

LEAST_TO_SHARE = 32
"""Held-out samples from which they are shared out: with fewer than 16 a half, neither half is of use."""


@dataclass(frozen=True, eq=False)
class HeldOutShares:
    """The held-out samples that a criterion is fitted on (``fit``), and those its points are chosen on (``choose``)."""

    fit: AllExits
    choose: AllExits

    @property
    def apart(self) -> bool:
        """Whether no sample is used for both."""
        return self.fit is not self.choose


def share_held_out(exits: AllExits, seed: int) -> HeldOutShares:
    """Share held-out samples between fitting and choosing: a half each, the second larger by one of an odd number.

    Drawn by ``seed``, each half in stored order. Fewer than 32 samples are used for both.
    """
    samples = len(exits.ids)
    if samples < LEAST_TO_SHARE:
        return HeldOutShares(exits, exits)
    order = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, samples]))).permutation(samples)
    fit, choose = np.sort(order[: samples // 2]), np.sort(order[samples // 2 :])
    return HeldOutShares(exits.take(fit), exits.take(choose))
