"""Tables: one form each, written whole, refused when they are of another form."""

import numpy as np
import pandas as pd
import pytest

from histo import tables
from histo.errors import InputError

FRAME = pd.DataFrame({"id": ["a", "b"], "group": ["x", "x"], "reason": ["alone", "slide"], "more": [1, 2]})


def test_round_trip(tmp_path):
    tables.write(FRAME, tmp_path / "t", tables.GROUPS)
    assert tables.read(tmp_path / "t", tables.GROUPS).to_numpy().tolist() == FRAME.iloc[:, :3].to_numpy().tolist()
    assert tables.read(tmp_path / "t", tables.GROUPS, ["reason"])["reason"].tolist() == ["alone", "slide"]


def test_block_hashes_keep_all_their_bits(tmp_path):
    frame = pd.DataFrame({name: [0] for name in tables.VALIDATION.names}).astype({"id": str})
    for name in ("id", "split", "mode", "md5", "pixels_sha1", "fault", "detail"):
        frame[name] = ""
    hashes = np.arange(36, dtype=np.uint64) + np.uint64(2**64 - 100)
    frame["blocks"] = [hashes]
    tables.write(frame, tmp_path / "t", tables.VALIDATION)
    np.testing.assert_array_equal(tables.read(tmp_path / "t", tables.VALIDATION)["blocks"][0], hashes)


def test_other_forms_are_refused(tmp_path):
    tables.write(FRAME, tmp_path / "t", tables.GROUPS)
    with pytest.raises(InputError, match=r"expected the columns .* found \['id', 'group', 'reason'\]"):
        tables.read(tmp_path / "t", tables.FOLDS)
    (tmp_path / "t").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        tables.read(tmp_path / "t", tables.GROUPS)
    with pytest.raises(InputError, match="no such file"):
        tables.read(tmp_path / "none", tables.GROUPS)
