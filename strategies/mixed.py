"""Mixed training: the backbone first, then everything (Kubaty et al., 2024).

Piotr Kubaty, Bartosz Wójcik, Bartłomiej Krzepkowski, Monika Michaluk, Tomasz Trzcinski, Jary Pomponi, Kamil
Adamczewski: How to Train Your Multi-Exit Model? Analyzing the Impact of Training Strategies. 2024, arXiv 2407.14320.
Their other two regimes are recipes already: "joint" is ``joint``, "disjoint" is ``deebert``.
"""

from __future__ import annotations

from strategies.base import Stage
from strategies.entropy import JointRecipe


class MixedRecipe(JointRecipe):
    """Mixed training: the backbone with its last classifier first, then all exits and the backbone jointly.

    Phase 1 minimises CE(z_L, y), phase 2 sum_i CE(z_i, y), nothing frozen in it. Each phase has its own optimiser and
    schedule and, our choice, the run's whole number of epochs and its learning rate: twice the steps of ``joint``, as
    ``deebert`` takes too. A comparison at equal steps needs train.epochs halved here.
    """

    stages = (Stage("backbone", exits="last"), Stage("joint"))
