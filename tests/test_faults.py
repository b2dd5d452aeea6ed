"""Faults of tiles: an archive with every fault gives every code, and no other."""

from histo.faults import FAULTS
from histo.files import read_json
from histo.synthetic.tiff import tiff
from support.stages import Results


def test_each_fault_has_its_code(archive, tmp_path):
    unlisted, no_label, bad_label, repeated, empty, unreadable, size, mode, missing, *_ = archive.train
    table = archive.tables["train_labels.csv"].replace(f"{unlisted},{archive.labels[unlisted]}\n", "")
    archive.tables["train_labels.csv"] = table + f"{repeated},{archive.labels[repeated]}\n"
    archive.relabel(no_label, "")
    archive.relabel(bad_label, "yes")
    del archive.files[f"train/{missing}.tif"]
    archive.files |= {
        f"train/{empty}.tif": b"",
        f"train/{unreadable}.tif": b"not an image",
        f"train/{size}.tif": tiff(archive.pixels[size][:80]),
        f"train/{mode}.tif": tiff(archive.pixels[mode][..., 1]),
    }
    expected = {unlisted: "unlisted_file", no_label: "no_label", bad_label: "bad_label", repeated: "repeated_id"}
    expected |= {empty: "empty_file", unreadable: "unreadable", size: "wrong_size", mode: "wrong_mode"}
    expected |= {missing: "missing_file"}

    other = archive.train[9]
    archive.files[f"train/{other}.tif"] = tiff(archive.pixels[other] ^ 1)
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r").prepare()
    tiles = results.audit()
    faulty = tiles[tiles["fault"] != ""].set_index("id")
    assert faulty["fault"].to_dict() == expected | {other: "sha1_differs"}
    assert (faulty["detail"] != "").all()
    assert not faulty["kept"].any()
    assert set(read_json(results.root / "audit.json")["faults"]) == set(FAULTS) - {"conflicting_copies"}


def test_conflicting_copies(archive, tmp_path):
    """Possible only where ids are not hashes."""
    a, b = archive.train[:2]
    archive.files[f"train/{b}.tif"] = archive.files[f"train/{a}.tif"]
    tiles = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r").prepare(id_is_sha1=False).audit()
    assert tiles.loc[tiles["fault"] != "", "fault"].tolist() == ["conflicting_copies"] * 2
    assert "conflicting_copies" in FAULTS
