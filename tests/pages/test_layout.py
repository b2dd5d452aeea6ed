"""What pages share: rendering that escapes and misses nothing."""

import jinja2
import pandas as pd
import pytest

from histo.pages.layout import evenly, provenance, render


def test_rows_are_spread_over_the_table():
    rows = pd.DataFrame({"x": range(100)})
    assert evenly(rows, 5)["x"].tolist() == [0, 24, 49, 74, 99]
    assert evenly(rows.head(3), 5)["x"].tolist() == [0, 1, 2]
    assert evenly(rows.head(0)).empty


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
