"""Entailment between two sentences, beyond GLUE's tasks; both are evaluated on their public test splits."""

from __future__ import annotations

from bench.tasks.hub import HubTask


class SNLI(HubTask):
    """Entailment of image captions, three classes (Bowman et al., 2015); accuracy on the test split.

    Pairs on which the annotators did not agree, whose label is -1, are left out, as in every publication.
    """

    name = "snli"
    dataset = "stanfordnlp/snli"
    config = "plain_text"
    revision = "cdb5c3d5eed6ead6e5a341c8e56e669bb666725b"
    columns = ("premise", "hypothesis")
    label_names = ("entailment", "neutral", "contradiction")
    drops_unlabelled = True
    evaluation = ("test",)
    published_rows = {"train": 549367, "test": 9824}


class SciTail(HubTask):
    """Entailment of science questions' answers (Khot et al., 2018); accuracy on the test split.

    The paper trains on 23,596 pairs; the hub's copy with these columns has 23,097 of them, which is said as a warning.
    """

    name = "scitail"
    dataset = "allenai/scitail"
    config = "tsv_format"
    revision = "0cc4353235b289165dfde1c7c5d1be983f99ce44"
    columns = ("premise", "hypothesis")
    label_names = ("entails", "neutral")
    evaluation = ("test",)
    published_rows = {"train": 23596, "test": 2126}
