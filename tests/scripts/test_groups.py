"""Groups of tiles that must not be split across folds."""

import logging

import numpy as np
import pandas as pd
import pytest

from groups import check_slides, group, read_slides
from histo.errors import InputError
from support.stages import Results

IDS = np.array(list("abcdef"), dtype=object)


def pairs(*names):
    return pd.DataFrame([tuple(name) for name in names], columns=["id_a", "id_b"])


def named(frame):
    return {row.id: (row.group, row.reason) for row in frame.itertuples()}


def test_relations_join_tiles():
    frame = group(IDS, np.array(list("123345"), dtype=object), {}, pairs("ab", "be"))
    assert named(frame) == {
        "a": ("a", "overlap"),
        "b": ("a", "overlap"),
        "e": ("a", "overlap"),
        "c": ("c", "content"),
        "d": ("c", "content"),
        "f": ("f", "alone"),
    }


def test_a_tile_of_unknown_slide_joins_the_slide_that_it_overlaps():
    frame = group(IDS, IDS, {"a": "S2", "c": "S2", "f": "S1"}, pairs("ab", "ef"))
    assert named(frame) == {
        "a": ("S2", "slide"),
        "b": ("S2", "slide"),
        "c": ("S2", "slide"),
        "d": ("d", "alone"),
        "e": ("S1", "slide"),
        "f": ("S1", "slide"),
    }


def test_pairs_with_other_tiles_are_ignored():
    assert named(group(IDS[:2], IDS[:2], {"z": "S"}, pairs("az", "yz"))) == {
        "a": ("a", "alone"),
        "b": ("b", "alone"),
    }


def test_order_of_rows_does_not_matter():
    slides = {"a": "S2", "c": "S2"}
    first = named(group(IDS, IDS, slides, pairs("ab", "de")))
    again = named(group(IDS[::-1], IDS[::-1], slides, pairs("de", "ab")))
    assert first == again


def test_contradicting_slides_are_named():
    with pytest.raises(InputError, match=r"1 pairs of tiles .*\na \(S1\) and b \(S2\)"):
        check_slides({"a": "S1", "b": "S2", "c": "S1"}, pairs("ab", "ac", "bz"))


def test_slide_tables(tmp_path):
    path = tmp_path / "slides.csv"
    path.write_text("id,slide\na, S1\n\nb,S2\na,S1\n")
    assert read_slides(path) == {"a": "S1", "b": "S2"}
    path.write_text("id,slide\na,S1\na,S2\n")
    with pytest.raises(InputError, match="line 3: tile a is of slide 'S2', before it was 'S1'"):
        read_slides(path)
    path.write_text("id,slide\na,\n")
    with pytest.raises(InputError, match="line 2: expected a slide"):
        read_slides(path)
    with pytest.raises(InputError, match="no such file"):
        read_slides(tmp_path / "none.csv")


def test_ids_that_no_tile_has_are_mentioned(archive, tmp_path, caplog):
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r").prepare()
    results.audit()
    results.overlaps()
    path = tmp_path / "slides.csv"
    path.write_text(f"id,slide\n{archive.train[0]},S1\n{archive.test[0]},S1\nnobody,S2\n")
    with caplog.at_level(logging.WARNING):
        results.groups(path)
    [line] = [record.getMessage() for record in caplog.records]
    assert "slides.csv: 2 of its 3 ids are no training tiles that are used, such as " in line
    assert "nobody" in line
