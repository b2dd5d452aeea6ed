"""A trained model applied to other tiles gives what the workflow gives for its test tiles."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histo import tables
from histo.apply.flags import read_reference
from histo.errors import InputError
from histo.predictions import stack_networks
from histo.synthetic.tiff import tiff
from histo.tiles.shards import Shard
from predict import predict
from stain import stain
from support import ROOT
from support.applying import applied
from support.finished_run import TEMPERATURE, stained_tiles, write_run


def predicted(run: Path, config, names=("fold-0", "fold-1"), shards="pack") -> tuple[np.ndarray, np.ndarray]:
    """Return ids and probabilities of the test tiles as the workflow computes them."""
    paths = []
    for name in names:
        paths.append(run / f"{name}.parquet")
        predict(
            str(run / "train" / "tiny" / name / "weights.pt"), [], [str(run / shards / "test-00000.h5")],
            str(run / "folds.parquet"), str(run / "tiles.parquet"), None, str(paths[-1]),
            **config["predict"],
        )  # fmt: skip
    ids, networks = stack_networks(paths)
    return ids, networks.mean(axis=0)


def write_archive(run: Path, path: Path) -> Path:
    shard = Shard(run / "pack" / "test-00000.h5")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("sample_submission.csv", "id,label\n")
        for name, tile in reversed(list(zip(shard.ids, shard.images, strict=True))):
            file.writestr(f"test/{name}.tif", tiff(tile))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run and its settings."""
    folder = tmp_path_factory.mktemp("run")
    return folder, write_run(folder)


def test_tiles_of_the_archive_get_the_bits_of_the_workflow(run, tmp_path):
    folder, config = run
    archive = write_archive(folder, tmp_path / "archive.zip")
    table = applied(folder, f"{archive}/test", tmp_path / "out.csv", config)
    ids, expected = predicted(folder, config)
    assert table.columns.tolist() == ["id", "probability", "calibrated", "flags"]
    assert table["id"].tolist() == ids.tolist()
    assert table["probability"].tolist() == expected.tolist()
    assert len(set(expected)) > 290
    logits = np.log(expected) - np.log1p(-expected)
    np.testing.assert_allclose(table["calibrated"], 1 / (1 + np.exp(-logits / TEMPERATURE)), rtol=1e-6)
    whole = applied(folder, archive, tmp_path / "whole.csv", config)
    assert whole["id"].tolist() == [f"test/{name}" for name in ids]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_shards_and_folders_of_png_give_the_same(run, tmp_path):
    folder, config = run
    shard = folder / "pack" / "test-00000.h5"
    of_shard = applied(folder, shard, tmp_path / "shard.csv", config)
    assert of_shard["probability"].tolist() == predicted(folder, config)[1].tolist()
    for name, tile in zip(Shard(shard).ids, Shard(shard).images, strict=True):
        path = tmp_path / "png" / name[:6] / f"{name}.PNG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tile).save(path)
    of_folder = applied(folder, tmp_path / "png", tmp_path / "folder.csv", config)
    assert of_folder["id"].tolist() == [f"{name[:6]}/{name}" for name in of_shard["id"]]
    assert of_folder.drop(columns="id").equals(of_shard.drop(columns="id"))


def test_stain_and_networks_trained_on_all_tiles(tmp_path):
    config = write_run(tmp_path, test=20, full_networks=2, stain=True, tta="all")
    stain(tmp_path / "pack" / "test-00000.h5", tmp_path / "stain" / "test-00000.h5", code="test")
    names = ["full-0", "full-1"]
    table = applied(tmp_path, tmp_path / "pack" / "test-00000.h5", tmp_path / "out.csv", config, names)
    assert table["probability"].tolist() == predicted(tmp_path, config, names, "stain")[1].tolist()
    assert table["probability"].tolist() != predicted(tmp_path, config, names, "pack")[1].tolist()


def test_command(run, tmp_path):
    folder, config = run
    shard = folder / "pack" / "test-00000.h5"
    command = [sys.executable, "-m", "histo.apply", "--run", folder, "--model", "tiny", "--tiles", shard]
    options = {"env": {"PYTHONPATH": str(ROOT / "workflow" / "scripts")}, "capture_output": True, "text": True}
    done = subprocess.run([*command, "--out", tmp_path / "out.csv", "--threads", "1"], **options)
    assert done.returncode == 0, done.stderr
    expected = applied(folder, shard, tmp_path / "expected.csv", config)
    assert (tmp_path / "out.csv").read_text() == (tmp_path / "expected.csv").read_text()
    assert len(expected) == 300
    command[6] = "other"
    done = subprocess.run([*command, "--out", tmp_path / "none.csv"], **options)
    assert done.returncode == 1
    assert "Failed: " in done.stderr and "expected the model 'other', found tiny" in done.stderr
    assert "Traceback" not in done.stderr


def test_unlike_tiles_are_flagged(run, tmp_path):
    folder, config = run
    tiles = stained_tiles(40, 3)
    tiles[0] = 235
    tiles[1] = 10
    tiles[2] = np.clip(tiles[2].astype(int) * [0.6, 1.4, 0.6], 0, 255)
    for number, tile in enumerate(tiles):
        (tmp_path / "tiles").mkdir(exist_ok=True)
        Image.fromarray(tile).save(tmp_path / "tiles" / f"{number:02d}.png")
    table = applied(folder, tmp_path / "tiles", tmp_path / "out.csv", config).set_index("id")
    assert table.loc[["00", "01", "02"], "flags"].tolist() == ["blank;colour", "black;colour", "colour"]
    assert (table["flags"] == "").sum() >= 35
    training = tables.read(folder / "tiles.parquet", tables.TILES)
    far = read_reference(folder / "tiles.parquet").far(
        training.loc[training["split"] == "train", ["mean_r", "mean_g", "mean_b", "std_r", "std_g", "std_b"]].to_numpy()
    )
    assert far.sum() == 1  # the farthest of 200


def test_tiles_of_another_size_are_flagged_and_change_no_other(run, tmp_path):
    folder, config = run
    tiles = stained_tiles(6, 3)
    for name, cut in (("same", 96), ("mixed", 50)):
        (tmp_path / name).mkdir()
        for number, tile in enumerate(tiles):
            Image.fromarray(tile[: cut if number == 2 else 96]).save(tmp_path / name / f"{number}.png")
    same, mixed = (applied(folder, tmp_path / name, tmp_path / f"{name}.csv", config) for name in ("same", "mixed"))
    others = [0, 1, 3, 4, 5]
    assert mixed["id"].tolist() == same["id"].tolist()
    assert mixed.loc[2, ["probability", "calibrated", "flags"]].tolist() == ["", "", "size"]
    assert mixed.loc[others].astype(str).equals(same.loc[others].astype(str))


def test_unusable_input_is_refused_with_a_reason(run, tmp_path):
    folder, config = run

    def refused(tiles, message, names=("fold-0", "fold-1")):
        with pytest.raises(InputError, match=message):
            applied(folder, tiles, tmp_path / "out.csv", config, names)
        assert not (tmp_path / "out.csv").exists()

    refused(folder / "pack" / "test-00000.h5", r"fold-7/weights\.pt: no such file", ["fold-7"])
    refused(tmp_path / "nothing", "expected a folder, a zip archive or shards, found nothing")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", r"expected images \(\.tif.*found none")
    (tmp_path / "text.txt").write_text("x")
    refused(tmp_path / "text.txt", "found another file")
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(stained_tiles(1)[0]).save(images / "a.png")
    Image.fromarray(stained_tiles(1)[0][:50]).save(images / "b.png")
    (images / "c.jpg").write_bytes(b"")
    refused(images, r"found 1 of 3 that are not:\nc\.jpg: empty_file: 0 bytes\nFix")
    (tmp_path / "others").mkdir()
    (images / "b.png").rename(tmp_path / "others" / "b.png")
    refused(tmp_path / "others", r"found 1 of 1 that are not:\nb\.png: wrong_size: 96 × 50 pixels\nFix")
    (images / "c.jpg").rename(images / "a.jpg")
    refused(images, r"expected one image of each id, found 'a\.png'")
    archive = write_archive(folder, tmp_path / "archive.zip")
    refused(f"{archive}/other", "archive.zip/other: expected images")
    data = bytearray(archive.read_bytes())
    data[5000] ^= 1
    archive.write_bytes(data)
    refused(archive, r"archive\.zip: test/test-0299\.tif: CRC .* expected")
