"""The audit page: what was found, as counted by hand, and pictures of the tiles that it names."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import audit_page as module
from audit_page import Found, area_chart, colour_charts, draw_mosaics, size_classes
from histo import tables
from histo.files import read_json, write_json
from histo.synthetic.tiff import tiff
from histo.tiles.shards import open_shards
from support.archives import sha1
from support.html_page import Page
from support.stages import Results

TEMPLATE = Path(module.__file__).parent.parent / "report" / "audit.html.j2"
HOSTILE = "<script>alert(1)</script>"


def run(results: Results, **options) -> Results:
    results.audit("leave_out", **options)
    for stage in (results.overlaps, results.groups, results.folds, results.leaks):
        stage()
    return results


def write(results: Results, name: str = "made") -> Page:
    output = results.root / "audit.html"
    tables_of = {key: results.root / f"{key}.parquet" for key in ("tiles", "overlaps")}
    found = Found(
        template=TEMPLATE, layout=TEMPLATE.with_name("page.html.j2"), audit=results.root / "audit.json",
        leaks=results.root / "leaks.json", train_shards=results.packed("train"), test_shards=results.packed("test"),
        **tables_of,
    )  # fmt: skip
    module.audit_page(found, output, dataset={"name": name, "source": "archive"}, code={"leaks": {"leaks.py": "abc"}})
    return Page(output)


def tile_of(split: str, made, pixels: np.ndarray, label: int = 0) -> str:
    """Add a tile to the archive and return its id."""
    name = sha1(pixels)
    made.files[f"{split}/{name}.tif"] = tiff(pixels)
    made.tables["train_labels.csv" if split == "train" else "sample_submission.csv"] += f"{name},{label}\n"
    return name


@pytest.fixture
def faulty(made, random, tmp_path):
    """An archive with a piece of slide across the splits, a black tile, a copy and three faults; its slide and ids."""
    coarse = Image.fromarray(random.integers(0, 256, (40, 36, 3), dtype=np.uint8))
    slide = np.asarray(coarse.resize((144, 160), Image.Resampling.BICUBIC))
    places = [("train", 0, 0, 1), ("train", 64, 0, 0), ("test", 32, 48, 0)]
    names = [tile_of(split, made, slide[y : y + 96, x : x + 96], label) for split, y, x, label in places]
    names.append(tile_of("train", made, np.full((96, 96, 3), 7, np.uint8)))
    made.files[f"train/{made.train[3]}.tif"] = made.files[f"train/{made.train[1]}.tif"]
    made.files[f"train/{made.train[5]}.tif"] = b"no picture"
    made.tables["train_labels.csv"] = made.tables["train_labels.csv"].replace(
        f"{made.train[7]},1", f"{made.train[7]},<i>2</i>"
    )
    return slide, names, run(Results(made.write(tmp_path / "a.zip"), tmp_path / "r").prepare(id_is_sha1=False))


def test_the_page_is_whole_and_states_what_was_found(made, faulty):
    _, names, results = faulty
    page = write(results)
    page.check_whole()
    cards = page.text[: page.text.index("Read this first")]
    assert "Tiles checked 22 15 train 7 test" in cards
    assert "Faulty 2 2 kinds" in cards
    assert "Pairs that share tissue 4 5 tiles in 2 pieces" in cards
    assert "these folds: 0.0 %" in cards
    box = page.text[page.text.index("Read this first") : page.text.index("what was found")]
    assert "Faulty and left out: 2 training and 0 test tiles." in box
    assert "Test tiles that share tissue with a training tile: 1 (14.3 %)." in box
    assert "bad_label a label other than 0 and 1 1 0" in page.text
    assert f"train/{made.train[7]} the label is '<i>2</i>'" in page.text
    assert f"train/{made.train[5]} neither TIFF nor PNG" in page.text
    assert "1 set of tiles with equal pixels, 2 tiles in all. 0 of the sets have two labels" in page.text
    assert "pairs among training tiles 2 pairs among test tiles 0 pairs of a training and a test tile 2" in page.text
    assert "1 test tiles (14.3 %) and 2 training tiles (14.3 %), in 2 pairs." in page.text
    assert "2 train + 1 test tiles, 1 of 2 with tumour; 144 × 160 pixels" in page.text
    assert "1 train, 0 of them with tumour; 0 test. None left out of training." in page.text
    assert f"train/{names[3]}" in page.text
    assert not page.all("i")


def test_the_first_mosaic_is_the_slide(faulty):
    slide, _, results = faulty
    tiles = tables.read(results.root / "tiles.parquet", tables.TILES)
    tiles = tiles[tiles["row"] >= 0].sort_values(["split", "id"], ascending=[False, True])
    shards = {split: open_shards(results.packed(split), split) for split in ("train", "test")}
    pairs = tables.read(results.root / "overlaps.parquet", tables.OVERLAPS)
    pictures, notes = draw_mosaics(shards, tiles, pairs)
    assert (len(pictures), notes) == (2, [])
    data = base64.b64decode(re.search(r"webp;base64,([^\"]+)", pictures[0])[1])
    picture = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    mask = np.zeros((160, 144), bool)
    mask[:, :96] = mask[32:128, 48:] = True
    np.testing.assert_array_equal(picture[..., 3], 255 * mask)
    off = np.abs(picture[..., :3] - slide)
    assert off[mask].mean() < 10
    # A tile that lay elsewhere would show.
    assert np.abs(picture[:-16, :, :3] - slide[16:])[mask[:-16] & mask[16:]].mean() > 40


def test_a_piece_that_contradicts_itself_is_not_drawn(faulty):
    _, names, results = faulty
    path = results.root / "overlaps.parquet"
    pairs = tables.read(path, tables.OVERLAPS)
    assert set(names[:3]) <= set(pairs["id_a"]) | set(pairs["id_b"])
    pairs.loc[pairs["id_a"].isin(names[:3]).idxmax(), "dy"] += 16
    tables.write(pairs, path, tables.OVERLAPS)
    page = write(results)
    assert f"Not drawn: 3 tiles with {min(names[:3])}: offsets contradict each other" in page.text
    assert page.source.count('<figure class="mosaic"') == 1


def test_left_out_tiles_are_counted(faulty):
    _, _, results = faulty
    page = write(run(results, leave_out=("black",)))
    assert "1 train, 0 of them with tumour; 0 test. 1 left out of training." in page.text


def test_nothing_found(made, tmp_path):
    page = write(run(Results(made.write(tmp_path / "a.zip"), tmp_path / "r").prepare()))
    page.check_whole()
    assert "Read this first" not in page.text
    assert "None: every listed tile is there" in page.text
    assert "None: no two tiles have equal pixels." in page.text
    assert "No two tiles share tissue." in page.text
    assert "No test tile shares tissue with a training tile." in page.text
    assert "random folds 0.0 % these folds 0.0 %" in page.text
    assert "with an AUC of 0.500" in page.text
    assert page.text.count("None.") == 3
    assert "mosaic" not in page.text


def test_hostile_names_stay_texts(faulty):
    _, names, results = faulty
    for file, schema, columns in (("tiles", tables.TILES, ["id"]), ("overlaps", tables.OVERLAPS, ["id_a", "id_b"])):
        path = results.root / f"{file}.parquet"
        frame = tables.read(path, schema)
        frame[columns] = frame[columns].replace({name: f"{HOSTILE}{name}" for name in names})
        tables.write(frame, path, schema)
    figures = read_json(results.root / "leaks.json")
    figures["duplicates"]["sets"][0]["pixels_sha1"] = HOSTILE
    figures["duplicates"]["sets"][0]["tiles"][1]["id"] = HOSTILE
    write_json(results.root / "leaks.json", figures)
    page = write(results, name=HOSTILE)
    assert not page.all("script")
    assert "<script>" not in page.source
    assert page.text.count(HOSTILE) >= 4


def test_components_fall_into_classes_of_size():
    sizes = [{"tiles": 2, "components": 7}, {"tiles": 4, "components": 2}, {"tiles": 5, "components": 1},
             {"tiles": 250, "components": 1}]  # fmt: skip
    assert size_classes(sizes) == [
        {"size": "2", "components": 7, "tiles": 14},
        {"size": "4 to 5", "components": 3, "tiles": 13},
        {"size": "100 or more", "components": 1, "tiles": 250},
    ]


def test_areas_are_shares_of_a_tile():
    chart = area_chart(pd.DataFrame({"area": [16 * 16, 48 * 96, 48 * 96, 80 * 96]}))
    assert "4 pairs, median 50 per cent." in chart
    assert chart.count('<rect class="fill-2"') == 3


def test_each_colour_chart_compares_the_medians(random):
    frame = pd.DataFrame(random.normal(100, 10, (400, len(tables.COLOUR))), columns=list(tables.COLOUR))
    frame["split"] = np.where(np.arange(400) < 300, "train", "test")
    frame.loc[frame["split"] == "test", "mean_g"] += 50
    charts = colour_charts(frame)
    assert len(charts) == len(module.DRAWN)
    green = frame.groupby("split")["mean_g"].median()
    assert f"Mean of green. Medians: train {green['train']:.1f}, test {green['test']:.1f}." in charts[2]
