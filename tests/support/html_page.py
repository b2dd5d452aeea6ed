"""A page as a reader of its markup sees it."""

import re
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """A parsed page; fails where tags do not close as they opened."""

    def __init__(self, path: Path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open, self.tags, self.words = [], [], []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]

    def check_whole(self) -> None:
        """Assert that the page asks for nothing outside itself and that its inner references lead somewhere."""
        for tag, attrs in self.tags:
            assert tag not in {"script", "link", "iframe", "object"}
            for key in ("src", "href", "data", "poster", "srcset"):
                inside = ("#", "data:image/png;base64,", "data:image/webp;base64,")
                assert attrs.get(key, "#").startswith(inside), (tag, attrs)
        assert not re.search(r"https?:|@import|url\(|<script", self.source)
        ids = [attrs["id"] for _, attrs in self.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        assert {attrs["href"][1:] for attrs in self.all("a") + self.all("use")} <= set(ids)
        pictures = [attrs for attrs in self.all("svg") if "aria-hidden" not in attrs]
        assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 10 for attrs in pictures)
        assert all(attrs["scope"] in ("col", "row") for attrs in self.all("th") if attrs)
