"""Topic and review classification; all are evaluated on their public test splits."""

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


class DBpedia(HubTask):
    """Ontology class of an encyclopedia abstract, 14 classes (Zhang et al., 2015); accuracy on the test split."""

    name = "dbpedia"
    dataset = "fancyzhx/dbpedia_14"
    config = "dbpedia_14"
    revision = "9abd46cf7fc8b4c64290f26993c540b92aa145ac"
    columns = ("content",)
    label_names = (
        "Company", "EducationalInstitution", "Artist", "Athlete", "OfficeHolder", "MeanOfTransportation", "Building",
        "NaturalPlace", "Village", "Animal", "Plant", "Album", "Film", "WrittenWork",
    )  # fmt: skip
    evaluation = ("test",)
    published_rows = {"train": 560000, "test": 70000}


class TwentyNewsgroups(HubTask):
    """Group of a posting, 20 classes (Lang, 1995; split by date); accuracy on the test split.

    Without headers, signatures and quotations, as the hub has it; texts that are blank then are counted in a warning.
    """

    name = "20_newsgroups"
    dataset = "SetFit/20_newsgroups"
    revision = "f1b91292074e7cfb69be58b642d583ec262f30ed"
    columns = ("text",)
    label_names = (
        "alt.atheism", "comp.graphics", "comp.os.ms-windows.misc", "comp.sys.ibm.pc.hardware", "comp.sys.mac.hardware",
        "comp.windows.x", "misc.forsale", "rec.autos", "rec.motorcycles", "rec.sport.baseball", "rec.sport.hockey",
        "sci.crypt", "sci.electronics", "sci.med", "sci.space", "soc.religion.christian", "talk.politics.guns",
        "talk.politics.mideast", "talk.politics.misc", "talk.religion.misc",
    )  # fmt: skip
    evaluation = ("test",)
    published_rows = {"train": 11314, "test": 7532}
    max_length = 256  # as for IMDb


class YelpPolarity(HubTask):
    """Sentiment of reviews: one or two stars, or three or four (Zhang et al., 2015); accuracy on the test split."""

    name = "yelp_polarity"
    dataset = "fancyzhx/yelp_polarity"
    config = "plain_text"
    revision = "bbf1c97a1f0cf005e5aded43839fd814654a1557"
    columns = ("text",)
    label_names = ("1", "2")
    evaluation = ("test",)
    published_rows = {"train": 560000, "test": 38000}
    max_length = 256  # as for IMDb


class YelpReviewFull(HubTask):
    """Stars of reviews, five classes (Zhang et al., 2015); accuracy on the test split."""

    name = "yelp_review_full"
    dataset = "Yelp/yelp_review_full"
    config = "yelp_review_full"
    revision = "c1f9ee939b7d05667af864ee1cb066393154bf85"
    columns = ("text",)
    label_names = ("1 star", "2 star", "3 stars", "4 stars", "5 stars")
    evaluation = ("test",)
    published_rows = {"train": 650000, "test": 50000}
    max_length = 256  # as for IMDb
