"""Texts that nobody should put into a page, and a reader of the page that has them."""

from __future__ import annotations

from html.parser import HTMLParser

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"
QUOTES = "\"'`' onmouseover=alert(3) x=\"{{7*7}} ]]> --> & $x^{2$ \\end{table} | %\n#"
LONG = "long" * 400
RTL = "\u202eمرحبا بالعالم שלום"
EMOJI = "👩‍👩‍👧‍👦🇩🇪\x00\x07\ud800"
HOSTILE = {"script": SCRIPT, "quotes": QUOTES, "long": LONG, "rtl": RTL, "emoji": EMOJI}


class Reader(HTMLParser):
    """Collects tags, attributes and text as a browser would see them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)
