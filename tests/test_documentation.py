"""The documentation site: it builds without a warning, its links lead somewhere, and it loads nothing from outside."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from support import ROOT

EXTERNAL = re.compile(r"https://[a-z0-9.-]+\.[a-z]{2,}(/[\w./?=&%#@~+-]*)?")
# Attributes whose address a browser loads without a click. The others of `link` name related pages.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
RELATED = {"next", "prev", "canonical"}


class Page(HTMLParser):
    """A page: its anchors, the addresses that it links to, and those that a browser loads with it."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.loaded = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag in LOADED and values.get("rel") not in RELATED and LOADED[tag] in values:
            self.loaded.append(values[LOADED[tag]])


def faults(site: Path) -> list[str]:
    """Return what is wrong with the addresses of the pages in a folder."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for address in page.links + page.loaded:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.loaded and parts.scheme != "data":
                    found.append(f"{name}: loads {address}")
                elif address in page.links and not EXTERNAL.fullmatch(address):
                    found.append(f"{name}: malformed address {address}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                found.append(f"{name}: dead link {address}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name}: dead anchor {address}")
    for path in site.rglob("*.css"):
        urls = re.findall(r"url\(([^)]*)\)|@import\s+([^\s;]+)", path.read_text(encoding="utf-8"))
        loaded = ["".join(url).strip("\"'") for url in urls]
        found += [f"{path.name}: loads {url}" for url in loaded if not url.startswith(("data:", "#", "."))]
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder)))
    return folder


def test_links_and_anchors_lead_somewhere_and_nothing_is_loaded_from_elsewhere(site):
    assert faults(site) == []


def test_every_page_of_the_repository_is_on_the_site(site):
    sources = [*ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md"), ROOT / "config/README.md", ROOT / "README.md"]
    assert len(sources) > 25
    for source in sources:
        path = source.relative_to(ROOT).with_suffix(".html")
        path = path.with_name("index.html") if path.name == "README.html" else path
        title = re.search(r"^# (.*)$", source.read_text(), re.M)[1].replace("`", "")
        assert title in re.sub(r"<[^>]+>", "", (site / path).read_text()), path


def test_lists_and_tables_are_not_run_into_paragraphs(site):
    """Git hosts begin a list without an empty line before it, the site does not."""
    for path in site.rglob("*.html"):
        paragraphs = re.findall(r"<p>(.*?)</p>", path.read_text(encoding="utf-8"), re.S)
        assert [text for text in paragraphs if re.search(r"\n(- |\d+\. |\|)", text)] == [], path


def test_settings_of_the_site_are_those_of_the_types(site):
    text = (site / "config/index.html").read_text(encoding="utf-8")
    assert re.search(r"<td><code>folds\.fraction</code></td>\s*<td><code>1\.0</code></td>", text)


def test_faults_are_found(tmp_path):
    (tmp_path / "other.html").write_text('<h1 id="here">Other</h1>')
    (tmp_path / "style.css").write_text(
        "@import 'https://example.org/a.css'; a { background: url(https://b.org/c.png) }"
    )
    (tmp_path / "page.html").write_text(
        '<a href="other.html#here"></a><a href="#there"></a><a href="none.html"></a><a href="http://example.org"></a>'
        '<a href="https://example.org/page"></a><script src="https://example.org/x.js"></script><img src="none.png">'
        '<link rel="stylesheet" href="style.css"><link rel="preconnect" href="https://fonts.example.org">'
    )
    assert sorted(faults(tmp_path)) == [
        "page.html: dead anchor #there",
        "page.html: dead link none.html",
        "page.html: dead link none.png",
        "page.html: loads https://example.org/x.js",
        "page.html: loads https://fonts.example.org",
        "page.html: malformed address http://example.org",
        "style.css: loads https://b.org/c.png",
        "style.css: loads https://example.org/a.css",
    ]
