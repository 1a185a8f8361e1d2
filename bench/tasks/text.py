"""Topic and review classification; both are evaluated on their public test splits."""

from __future__ import annotations

from bench.tasks.hub import HubTask


class AGNews(HubTask):
    """Topic of a news item, four classes (Zhang et al., 2015); accuracy on the test split."""

    name = "ag_news"
    dataset = "fancyzhx/ag_news"
    revision = "eb185aade064a813bc0b7f42de02595523103ca4"
    columns = ("text",)
    label_names = ("World", "Sports", "Business", "Sci/Tech")
    evaluation = ("test",)
    published_rows = {"train": 120000, "test": 7600}


class IMDB(HubTask):
    """Sentiment of whole movie reviews (Maas et al., 2011); accuracy on the test split."""

    name = "imdb"
    dataset = "stanfordnlp/imdb"
    revision = "e6281661ce1c48d982bc483cf8a173c1bbeb5d31"
    columns = ("text",)
    label_names = ("neg", "pos")
    evaluation = ("test",)
    published_rows = {"train": 25000, "test": 25000}
    max_length = 256  # a third of the reviews is longer still; the count of cut samples goes with the result
