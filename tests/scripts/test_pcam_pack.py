"""Packing PatchCamelyon: shards and validation rows in the order of its files, with identical pixels."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audit import audit
from histo import tables
from histo.errors import InputError
from histo.tiles.measurements import block_hashes
from histo.tiles.shards import Shard
from pcam_pack import pcam_pack
from support.pcam import SPLITS, Pcam


@pytest.fixture
def pcam(random) -> Pcam:
    return Pcam(random)


def packed(folder: Path, images: dict[str, Path], split: str, shard: int) -> tuple[Shard, pd.DataFrame]:
    """Pack one shard; return it and its validation rows."""
    paths = folder / f"{split}-{shard}.h5", folder / f"{split}-{shard}.parquet"
    pcam_pack(
        folder / "index.parquet",
        [images[part] for part in SPLITS[split]],
        *paths,
        split=split,
        shard=shard,
        parts=SPLITS[split],
        code="test",
    )
    return Shard(paths[0]), tables.read(paths[1], tables.VALIDATION)


def test_shards_are_slices_of_the_files(pcam, tmp_path, monkeypatch):
    monkeypatch.setattr("histo.tiles.pcam.BATCH", 5)
    _, images = pcam.indexed(tmp_path)
    train = [packed(tmp_path, images, "train", k)[0] for k in range(3)]
    np.testing.assert_array_equal(np.concatenate([shard.images for shard in train]), pcam.tiles["train"])
    np.testing.assert_array_equal(np.concatenate([shard.labels for shard in train]), pcam.labels["train"])
    test = [packed(tmp_path, images, "test", k)[0] for k in range(2)]
    both = np.concatenate([pcam.tiles["valid"], pcam.tiles["test"]])
    np.testing.assert_array_equal(np.concatenate([shard.images for shard in test]), both)
    assert all((shard.labels == -1).all() for shard in test)
    for shard in train + test:
        shard.verify()


def test_validation_rows(pcam, tmp_path):
    _, images = pcam.indexed(tmp_path)
    shard, rows = packed(tmp_path, images, "test", 0)  # the valid part and one tile of the test part
    assert rows["id"].tolist() == shard.ids.tolist()
    assert rows["pixels_sha1"].tolist() == [hashlib.sha1(tile.tobytes()).hexdigest() for tile in shard.images]
    assert (rows["fault"] == "").all()
    assert (rows["width"] == 96).all()
    np.testing.assert_allclose(rows["brightness"], shard.images.mean((1, 2, 3)), rtol=1e-4)
    np.testing.assert_array_equal(np.stack(rows["blocks"].to_numpy()), block_hashes(shard.images))


def test_the_audit_keeps_all_tiles(pcam, tmp_path):
    _, images = pcam.indexed(tmp_path)
    jobs = [("train", k) for k in range(3)] + [("test", k) for k in range(2)]
    shards = {job: packed(tmp_path, images, *job)[0] for job in jobs}
    validations = [tmp_path / f"{split}-{k}.parquet" for split, k in jobs]
    audit(tmp_path / "index.parquet", validations, tmp_path / "tiles.parquet", tmp_path / "audit.json", on_fault="fail")
    tiles = tables.read(tmp_path / "tiles.parquet", tables.TILES)
    assert tiles["kept"].all()
    assert len(tiles) == 66
    for row in tiles.itertuples():
        assert shards[row.split, row.shard].ids[row.row] == row.id


def test_tiles_that_changed_after_indexing_are_an_error(pcam, tmp_path):
    _, images = pcam.indexed(tmp_path)
    images["valid"] = images["test"]
    with pytest.raises(
        InputError, match=r"as tile 0, found other pixels than when it was indexed\..*forcerun pcam_gunzip"
    ):
        packed(tmp_path, images, "test", 0)
    assert not (tmp_path / "test-0.h5").exists()
