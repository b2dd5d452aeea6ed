"""HTML pages and fragments, parsed for tests."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

HOSTILE = "<script>alert('\"&')</script>"  # a name that must be escaped
VOID = {"meta", "br", "link", "img", "hr", "input"}


def parse_fragment(markup: str) -> ElementTree.Element:
    """Return the elements of a well-formed fragment of a page under one root."""
    return ElementTree.fromstring(f"<body>{markup}</body>")


class Page(HTMLParser):
    """A parsed page: its source, its tags with attributes and its text; fails if tags are not properly nested."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.source = path.read_text(encoding="utf-8")
        self.open_tags, self.tags, self.texts, self._pictures = [], [], [], []
        self.feed(self.source)
        self.close()
        assert self.open_tags == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "svg" and "svg" not in self.open_tags:
            self._pictures.append(dict(attrs))
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag

    def handle_data(self, data):
        if self.open_tags[-1:] not in (["style"], ["script"]):
            self.texts.append(data)

    @property
    def text(self) -> str:
        """The text of the page with single spaces."""
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def all(self, tag: str) -> list[dict]:
        """Return the attributes of all tags of this name."""
        return [attrs for name, attrs in self.tags if name == tag]

    def images(self) -> list[dict]:
        """Return the attributes of all SVG images that are neither decoration nor part of another one."""
        return [attrs for attrs in self._pictures if "aria-hidden" not in attrs]

    def check_self_contained(self) -> None:
        """Assert that the page loads nothing and that its internal links have targets."""
        assert self.all("script") == [{}]  # inline, allowed by its hash
        assert "script-src 'sha256-" in self.all("meta")[1]["content"]
        for tag, attrs in self.tags:
            assert tag not in {"link", "iframe", "object"}
            for key in ("src", "href", "data", "poster", "srcset"):
                internal = ("#", "data:image/png;base64,", "data:image/webp;base64,")
                if tag != "a":  # a link may name a file beside the page
                    assert attrs.get(key, "#").startswith(internal), (tag, attrs)
        assert not re.search(r"https?:|@import|url\(", self.source)
        ids = [attrs["id"] for _, attrs in self.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        targets = [attrs["href"] for attrs in self.all("a") + self.all("use")]
        assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)
        for target in targets:
            assert target.startswith("#") or (self.path.parent / unquote(target)).is_file(), target

    def check_accessible(self) -> None:
        """Assert that every image has an alternative text and every table header a scope."""
        assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 10 for attrs in self.images())
        assert all(attrs["scope"] in ("col", "row") for attrs in self.all("th"))
