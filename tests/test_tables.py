"""Tables: written and read with their schema, refused when they have another one."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from histo import tables
from histo.errors import InputError

FRAME = pd.DataFrame({"id": ["a", "b"], "group": ["x", "x"], "reason": ["alone", "slide"], "more": [1, 2]})


def test_round_trip(tmp_path):
    tables.write(FRAME, tmp_path / "t", tables.GROUPS)
    assert tables.read(tmp_path / "t", tables.GROUPS).to_numpy().tolist() == FRAME.iloc[:, :3].to_numpy().tolist()
    assert tables.read(tmp_path / "t", tables.GROUPS, ["reason"])["reason"].tolist() == ["alone", "slide"]


def test_rows_are_counted_without_reading_them(tmp_path):
    tables.write(FRAME, tmp_path / "t", tables.GROUPS)
    assert tables.count_rows(tmp_path / "t") == 2
    (tmp_path / "t").write_text("no table")
    assert tables.count_rows(tmp_path / "t") == tables.count_rows(tmp_path / "none") == 0


def test_shard_numbers_have_five_digits(tmp_path):
    frame = pd.DataFrame({"id": ["a"], "shard": [99_999], "row": [0], "label": [1], "group": ["x"], "fold": [0]})
    tables.write(frame, tmp_path / "t", tables.FOLDS)
    assert tables.read(tmp_path / "t", tables.FOLDS)["shard"].tolist() == [99_999]
    for schema in (tables.INDEX, tables.VALIDATION, tables.TILES):
        assert str(schema.field("shard").type) == "int32"


def test_block_hashes_keep_all_64_bits(tmp_path):
    frame = pd.DataFrame({name: [0] for name in tables.VALIDATION.names}).astype({"id": str})
    for name in ("id", "split", "mode", "md5", "pixels_sha1", "fault", "detail"):
        frame[name] = ""
    hashes = np.arange(36, dtype=np.uint64) + np.uint64(2**64 - 100)
    frame["blocks"] = [hashes]
    tables.write(frame, tmp_path / "t", tables.VALIDATION)
    np.testing.assert_array_equal(tables.read(tmp_path / "t", tables.VALIDATION)["blocks"][0], hashes)


def test_other_schemas_and_damaged_files_are_refused(tmp_path):
    tables.write(FRAME, tmp_path / "t", tables.GROUPS)
    with pytest.raises(InputError, match=r"expected the columns .* found \['id', 'group', 'reason'\]"):
        tables.read(tmp_path / "t", tables.FOLDS)
    (tmp_path / "t").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        tables.read(tmp_path / "t", tables.GROUPS)
    with pytest.raises(InputError, match="no such file"):
        tables.read(tmp_path / "none", tables.GROUPS)


def test_index_of_one_shard(tmp_path):
    frame = pd.DataFrame({"id": list("abcd"), "split": ["train", "train", "test", "train"], "shard": [0, 1, 1, 1]})
    frame = frame.assign(label=[0, 1, -1, 0], offset=0, compressed=0, size=0, crc=0, method=0)
    frame = frame.assign(entry="", fault="", detail="")
    tables.write_index(frame, tmp_path / "t")
    rows = tables.read_index_of_shard(tmp_path / "t", "train", 1)
    assert rows["id"].tolist() == ["b", "d"]
    assert rows.columns.tolist() == tables.INDEX.names
    assert tables.read(tmp_path / "t", tables.INDEX)["id"].tolist() == list("abcd")
    some = tables.read_index_of_shard(tmp_path / "t", "test", 1, ["id", "split", "shard"])
    assert some.to_dict("records") == [{"id": "c", "split": "test", "shard": 1}]
    assert tables.read_index_of_shard(tmp_path / "t", "test", 1, ["id"])["id"].tolist() == ["c"]
    assert tables.read_index_of_shard(tmp_path / "t", "test", 7).empty


def test_only_the_rows_of_the_shard_are_read(tmp_path):
    """Row groups of other shards are damaged: reading them would fail."""
    frame = pd.DataFrame({"id": [f"{k:040x}" for k in range(3000)], "split": "train", "shard": np.arange(3000) // 1000})
    frame = frame.assign(label=0, offset=0, compressed=0, size=0, crc=0, method=0, entry="", fault="", detail="")
    path = tmp_path / "t"
    tables.write_index(frame, path)
    groups = [pq.ParquetFile(path).metadata.row_group(k) for k in range(3)]
    assert [group.num_rows for group in groups] == [1000] * 3
    data = bytearray(path.read_bytes())
    for group in (groups[0], groups[2]):
        start = group.column(0).dictionary_page_offset or group.column(0).data_page_offset
        data[start : start + 2000] = bytes(2000)
    path.write_bytes(data)
    assert tables.read_index_of_shard(path, "train", 1)["id"].tolist() == [f"{k:040x}" for k in range(1000, 2000)]
    with pytest.raises(InputError, match="not a readable Parquet file"):
        tables.read_index_of_shard(path, "train", 2)
