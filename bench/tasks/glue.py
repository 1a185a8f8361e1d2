"""The nine GLUE tasks (Wang et al., ICLR 2019, arXiv 1804.07461), scored as the benchmark scores them.

Test labels are secret, so evaluation is on the validation split, as in every early-exit paper.
"""

from __future__ import annotations

from bench.tasks.hub import HubTask


class GlueTask(HubTask):
    """What the nine have in common: the hub repository and its commit."""

    dataset = "nyu-mll/glue"
    revision = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"


class CoLA(GlueTask):
    """Linguistic acceptability of one sentence; Matthews correlation."""

    name = config = "cola"
    columns = ("sentence",)
    label_names = ("unacceptable", "acceptable")
    metrics = ("matthews",)
    published_rows = {"train": 8551, "validation": 1043}


class SST2(GlueTask):
    """Sentiment of movie-review phrases; accuracy."""

    name = config = "sst2"
    columns = ("sentence",)
    label_names = ("negative", "positive")
    published_rows = {"train": 67349, "validation": 872}


class MRPC(GlueTask):
    """Paraphrase of news sentences; accuracy and F1."""

    name = config = "mrpc"
    columns = ("sentence1", "sentence2")
    label_names = ("not_equivalent", "equivalent")
    metrics = ("accuracy", "f1")
    published_rows = {"train": 3668, "validation": 408}


class QQP(GlueTask):
    """Duplicate questions of Quora; accuracy and F1."""

    name = config = "qqp"
    columns = ("question1", "question2")
    label_names = ("not_duplicate", "duplicate")
    metrics = ("accuracy", "f1")
    published_rows = {"train": 363846, "validation": 40430}


class STSB(GlueTask):
    """Similarity of two sentences on a scale of 0 to 5 (regression); Pearson and Spearman correlation."""

    name = config = "stsb"
    kind = "regression"
    columns = ("sentence1", "sentence2")
    label_range = (0.0, 5.0)
    metrics = ("pearson", "spearman")
    published_rows = {"train": 5749, "validation": 1500}


class MNLI(GlueTask):
    """Entailment over ten genres, evaluated on matched and mismatched genres; accuracy."""

    name = config = "mnli"
    columns = ("premise", "hypothesis")
    label_names = ("entailment", "neutral", "contradiction")
    evaluation = ("validation_matched", "validation_mismatched")
    published_rows = {"train": 392702, "validation_matched": 9815, "validation_mismatched": 9832}


class QNLI(GlueTask):
    """Does the sentence answer the question (from SQuAD); accuracy."""

    name = config = "qnli"
    columns = ("question", "sentence")
    label_names = ("entailment", "not_entailment")
    published_rows = {"train": 104743, "validation": 5463}


class RTE(GlueTask):
    """Textual entailment, two classes, 2,490 training pairs; accuracy."""

    name = config = "rte"
    columns = ("sentence1", "sentence2")
    label_names = ("entailment", "not_entailment")
    published_rows = {"train": 2490, "validation": 277}


class WNLI(GlueTask):
    """Pronoun resolution as entailment (adversarial validation split); accuracy."""

    name = config = "wnli"
    columns = ("sentence1", "sentence2")
    label_names = ("not_entailment", "entailment")
    published_rows = {"train": 635, "validation": 71}
