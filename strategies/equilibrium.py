"""Gradient equilibrium: every exit has the same say in a layer, however many exits stand behind it.

Hao Li, Hong Zhang, Xiaojuan Qi, Ruigang Yang, Gao Huang: Improved Techniques for Training Adaptive Deep Networks.
ICCV 2019, arXiv 1908.06294. ElasticBERT (Liu et al., NAACL 2022) is trained with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from strategies.entropy import JointRecipe


class GradientEquilibriumRecipe(JointRecipe):
    """All exits at once, with the gradients balanced where an exit branches off.

    Where exit i leaves the backbone, the gradient from the exit is multiplied by 1 / (L - i + 1) and the one from the
    layers behind by (L - i) / (L - i + 1). By induction from exit L the gradient that leaves the node is then the
    *mean*, not the sum, of what exits i..L ask of it, and its size no longer grows towards the input. The exits' own
    parameters learn as in ``joint``.

    What to expect: layer i's gradient is that of ``joint`` divided by L - i + 1. AdamW divides a constant factor out
    again and sees the difference only in the clipping of the whole gradient and in weights that serve several depths
    (ALBERT's), where depths get other shares; the paper trained with SGD, which sees all of it.
    """

    def nodes(self, states: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the states with two factors on their gradients, which multiply to the paper's.

        1 / (L - i) on the exit's part, (L - i) / (L - i + 1) on all.
        """
        read = []
        for behind, state in zip(reversed(range(len(states))), states, strict=True):
            if behind == 0:  # exit L is the end of the backbone: nothing to balance
                read.append(state)
                continue
            state.register_hook(scale_by(behind / (behind + 1)))
            branch = state.view_as(state)
            branch.register_hook(scale_by(1 / behind))
            read.append(branch)
        return read


def scale_by(factor: float) -> Callable[[Tensor], Tensor]:
    """Return multiplication by ``factor``, as a hook on a gradient."""
    return lambda gradient: gradient * factor
