"""CSV tables from users: accepted where the meaning is clear, refused with the line otherwise."""

import pytest

from histo.csv_tables import check_id, parse_csv
from histo.errors import InputError


@pytest.mark.parametrize(
    "text",
    [
        "id,label\na,1\nb,0\n",
        "\ufeffid,label\na,1\nb,0\n",
        "id,label\r\na,1\r\nb,0\r\n",
        '"id","label"\n"a","1"\n"b","0"\n',
        "ID, Label\n a, 1\n b ,0 \n",
        "extra,label,id\nx,1,a\ny,0,b\n",
        "id,label\n\na,1\n\nb,0\n\n\n",
        "id,label\na,1\nb,0",
    ],
)
def test_accepted_variants_give_the_same_rows(text):
    assert [values for _, values in parse_csv("t", text.encode(), ["id", "label"])] == [["a", "1"], ["b", "0"]]


def test_line_numbers_are_those_of_the_file():
    assert [line for line, _ in parse_csv("t", b"id\n\na\n\nb\n", ["id"])] == [3, 5]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "t: expected the columns id, label, found an empty file"),
        (b"a,1\n", "t: expected the columns id, label, found a, 1"),
        (b"id;label\na;1\n", "found id;label"),
        (b"id,id,label\n", "found id, id, label"),
        (b"id,label\na,1\nb\n", r"t, line 3: expected 2 values, found 1\. Fix the line"),
        (b"id,label\na,1,2\n", "t, line 2: expected 2 values, found 3"),
        (b"id,label\n\xff\xfe,1\n", "expected UTF-8 text"),
        (b'id,label\n"a,1\n', "not CSV"),
    ],
)
def test_other_content_is_refused_with_its_line(data, message):
    with pytest.raises(InputError, match=message):
        list(parse_csv("t", data, ["id", "label"]))


def test_ids():
    assert check_id("t", "AB" * 20) == "ab" * 20
    assert check_id("t", "Tile_7") == "Tile_7"
    for bad in ("", "..", "a/b", "a\\b", "x" * 41, "é", "a\n"):
        with pytest.raises(InputError, match="expected an id"):
            check_id("t", bad)
