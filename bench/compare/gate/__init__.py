"""The regression gate of this repository: small seeded runs against a baseline that is committed with the code.

What a machine can decide exactly is separated from what float noise blurs:

- *rules*: the criterion of every strategy is replayed on stored logits (of the baseline's trained models, and of a
  made-up probe with three shapes) at *golden cuts*, which lie midway between two neighbouring scores with as wide a
  gap as can be had. Float noise is orders of magnitude narrower, so exits must be equal, sample by sample, on any
  machine.
  Whether the comparison is < or <= shows at no such cut; a cut equal to today's own score shows it.
- *FLOPs*: the present cost model on stored lengths and stored exits: integers, equal on any machine.
- *counts*: what the live engine does on made-up tokens, with exits prescribed: operations, bytes, host synchronisations
  and transfers at every layer, head and check. Equal on any machine with the same torch and transformers.
- *samples*: ids, labels and token counts: equal on any machine.
- *training*: models are trained anew, a few steps each, and their logits compared with the stored ones. Within
  TOLERANCE they are the same model: another processor or thread count moves them by less. Beyond it something changed
  what is trained: worse, on any processor. Early exits that learn from rounding alone are the exception: on another
  processor they are inconclusive, and the paired tests of quality decide. With other versions of torch or transformers
  nobody can tell code from library: not comparable.

`bench gate` runs this; `bench gate --accept` rewrites the baseline and prints what moved. What is installed beside our
own strategies plays no part; `--strategy` and `--baseline` gate anybody's own.
"""
