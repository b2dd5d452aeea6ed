"""Parts that all pages share: number formats, provenance, rendering."""

import jinja2
import pandas as pd
import pytest

from histo.formatting import compact, duration, percent
from histo.pages.layout import evenly_spaced, provenance, render, write_page


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (187.4, "3 min 07 s"), (3599.7, "1 h 00 min"),
     (7530, "2 h 05 min")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(7, "7"), (311_234, "311 k"), (999_600, "1 M"), (2_791_234, "2.79 M"), (26_000_000, "26 M")]
)
def test_large_numbers(count, text):
    assert compact(count) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0 %"), (1e-6, "< 0.1 %"), (0.0613, "6.1 %"), (0.99999, "> 99.9 %"), (1, "100.0 %")],
)
def test_only_exact_proportions_are_shown_as_0_and_100_per_cent(share, text):
    assert percent(share) == text


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


def test_texts_are_escaped_and_missing_values_are_errors(tmp_path):
    layout, template = tmp_path / "layout.j2", tmp_path / "page.j2"
    layout.write_text("<main>{% block content %}{% endblock %}</main>")
    template.write_text('{% extends "layout.j2" %}{% block content %}{{ text }} {{ share | percent }}{% endblock %}')
    assert render(template, layout, text="<b>", share=0.5) == "<main>&lt;b&gt; 50.0 %</main>"
    with pytest.raises(jinja2.UndefinedError, match="text"):
        render(template, layout, share=0.5)


def test_a_page_is_written_as_utf_8(tmp_path):
    write_page(tmp_path / "page.html", "90° – ü")
    assert (tmp_path / "page.html").read_bytes() == "90° – ü".encode()
