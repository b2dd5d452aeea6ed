"""Parts that all pages share: provenance and rendering."""

import base64
import hashlib
import re
import shutil
import subprocess

import jinja2
import pandas as pd
import pytest

from histo.pages import layout
from histo.pages.layout import evenly_spaced, provenance, render, write_page
from support import ROOT


def test_selected_rows_are_at_even_distances():
    rows = pd.DataFrame({"x": range(100)})
    assert evenly_spaced(rows, 5)["x"].tolist() == [0, 24, 49, 74, 99]
    assert evenly_spaced(rows.head(3), 5)["x"].tolist() == [0, 1, 2]
    assert evenly_spaced(rows.head(0)).empty


def test_the_same_code_has_the_same_fingerprint():
    code = {"a": {"a.py": "1", "histo/x.py": "2"}, "b": {"b.py": "3", "histo/x.py": "2"}}
    found = provenance(code)
    assert found["files"] == [("a.py", "1"), ("b.py", "3"), ("histo/x.py", "2")]
    assert found["code"] == provenance(dict(reversed(code.items())))["code"]
    assert found["code"] != provenance({"a": {"a.py": "1"}})["code"]


def test_the_commit_is_that_of_the_checkout(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    (tmp_path / "layout.py").write_text("1")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    monkeypatch.setattr(layout, "__file__", str(tmp_path / "layout.py"))
    assert provenance({})["commit"] == head[:12]
    (tmp_path / "layout.py").write_text("2")
    assert provenance({})["commit"] == f"{head[:12]}-dirty"
    shutil.rmtree(tmp_path / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance({})["commit"] is None


def test_texts_are_escaped_and_missing_values_are_errors(tmp_path):
    page, template = tmp_path / "layout.j2", tmp_path / "page.j2"
    page.write_text("<main>{% block content %}{% endblock %}</main>")
    template.write_text('{% extends "layout.j2" %}{% block content %}{{ text }} {{ share | percent }}{% endblock %}')
    assert render(template, page, text="<b>", share=0.5) == "<main>&lt;b&gt; 50.0 %</main>"
    with pytest.raises(jinja2.UndefinedError, match="text"):
        render(template, page, share=0.5)


def test_the_policy_allows_the_script_of_the_layout_alone(tmp_path):
    """Not one that a text brings which was not escaped."""
    page, template = tmp_path / "layout.j2", tmp_path / "page.j2"
    head = '<meta http-equiv="Content-Security-Policy" content="{{ policy }}"><style>p {}</style>'
    page.write_text(head + "{% block content %}{% endblock %}<script>own()</script>")
    template.write_text('{% extends "layout.j2" %}{% block content %}{{ text | safe }}{% endblock %}')
    own, style, other = (
        base64.b64encode(hashlib.sha256(text).digest()).decode() for text in (b"own()", b"p {}", b"other()")
    )
    html = render(template, page, text="<script>other()</script>")
    policy = html.partition('content="')[2].partition('"')[0].split("; ")
    assert policy[:2] == ["default-src 'none'", "img-src data:"]
    assert f"script-src 'sha256-{own}'" in policy and f"style-src-elem 'sha256-{style}'" in policy
    assert "<script>other()</script>" in html and other not in html


def test_the_script_of_the_layout_is_the_same_in_each_page():
    """The policy has its digest, taken from the template."""
    text = (ROOT / "workflow" / "report" / "page.html.j2").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    assert not re.search(r"{[{%#]", script)


def test_a_page_is_written_as_utf_8(tmp_path):
    write_page(tmp_path / "page.html", "90° – ü")
    assert (tmp_path / "page.html").read_bytes() == "90° – ü".encode()
