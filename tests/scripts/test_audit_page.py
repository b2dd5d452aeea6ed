"""The audit page: counts of a small archive with known faults, and pictures of the right tiles."""

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from audit_page import (
    CHARTED,
    AuditPageInputs,
    audit_page,
    colour_charts,
    draw_mosaics,
    size_classes,
    tile_counts,
)
from histo import tables
from histo.files import read_json, write_json
from histo.tiles.shards import open_shards
from support import ROOT
from support.html_page import HOSTILE, Page
from support.stages import Results

TEMPLATE = ROOT / "workflow" / "report" / "audit.html.j2"


def run_stages(results: Results, **options) -> Results:
    """Run the stages from `audit` to `leaks`."""
    results.audit("leave_out", **options)
    for stage in (results.overlaps, results.groups, results.folds, results.leaks):
        stage()
    return results


def write_page(results: Results, name: str = "small") -> Page:
    """Write the page and parse it."""
    output = results.root / "audit.html"
    inputs = AuditPageInputs(
        template=TEMPLATE, layout=TEMPLATE.with_name("page.html.j2"), audit=results.root / "audit.json",
        tiles=results.root / "tiles.parquet", overlaps=results.root / "overlaps.parquet",
        leaks=results.root / "leaks.json", train_shards=results.packed("train"), test_shards=results.packed("test"),
    )  # fmt: skip
    dataset, code = {"name": name, "source": "archive"}, {"leaks": {"leaks.py": "abc"}}
    audit_page(inputs, output, results.root / "audit.csv", dataset=dataset, code=code)
    return Page(output)


@pytest.fixture
def faulty(archive, random, tmp_path):
    """Results of an archive with a region of a slide in both splits, a black tile, a duplicate and two faulty tiles.

    Returns the pixels of the region, the ids of its three tiles and of the black tile, and the results.
    """
    coarse = Image.fromarray(random.integers(0, 256, (40, 36, 3), dtype=np.uint8))
    slide = np.asarray(coarse.resize((144, 160), Image.Resampling.BICUBIC))
    cuts = [("train", 0, 0, 1), ("train", 64, 0, 0), ("test", 32, 48, 0)]
    names = [archive.add(split, slide[y : y + 96, x : x + 96], label) for split, y, x, label in cuts]
    names.append(archive.add("train", np.full((96, 96, 3), 7, np.uint8)))
    archive.files[f"train/{archive.train[3]}.tif"] = archive.files[f"train/{archive.train[1]}.tif"]
    archive.files[f"train/{archive.train[5]}.tif"] = b"no picture"
    archive.relabel(archive.train[7], "<i>2</i>")
    return (
        slide,
        names,
        run_stages(Results(archive.write(tmp_path / "a.zip"), tmp_path / "r").prepare(id_is_sha1=False)),
    )


def test_the_page_is_self_contained_and_shows_all_counts(archive, faulty):
    _, names, results = faulty
    page = write_page(results)
    page.check_self_contained()
    page.check_accessible()
    assert "Numbers: audit.json , leaks.json , audit.csv ." in page.text
    table = pd.read_csv(results.root / "audit.csv", dtype=str).set_index(["file", "key"])["value"]
    assert table["leaks.json", "overlaps.tiles"] == "5" and table["audit.json", "tiles.train"] == "15"
    cards = page.text[: page.text.index("Warnings")]
    assert "Tiles checked 22 15 train 7 test" in cards
    assert "Faulty 2 2 kinds of fault" in cards
    assert "Pairs that share tissue 4 5 tiles in 2 connected regions" in cards
    assert "with these folds: 0.0 %" in cards
    box = page.text[page.text.index("Warnings") : page.text.index("meaning train test")]
    assert "Tiles excluded because of a fault: 2 training and 0 test tiles." in box
    assert "Test tiles that share tissue with a training tile: 1 (14.3 %)." in box
    assert "bad_label a label that is not one of the classes 1 0" in page.text
    assert f"train/{archive.train[7]} the label is '<i>2</i>'" in page.text
    assert f"train/{archive.train[5]} neither TIFF, PNG nor JPEG" in page.text
    assert "1 set of tiles with identical pixels, 2 tiles in total. Sets with different labels: 0." in page.text
    assert (
        "pairs within the training set 2 pairs within the test set 0 pairs of a training and a test tile 2" in page.text
    )
    assert "1 test tile (14.3 %) and 2 training tiles (14.3 %), in 2 pairs." in page.text
    assert "2 training + 1 test tiles, 1 of 2 labelled tiles with tumour; 144 × 160 pixels" in page.text
    assert "1 training tile, 0 with tumour; 0 test tiles. None excluded from training." in page.text
    assert f"train/{names[3]}" in page.text
    assert not page.all("i")


def test_the_first_mosaic_is_the_slide(faulty):
    slide, _, results = faulty
    tiles = tables.read(results.root / "tiles.parquet", tables.TILES)
    tiles = tiles[tiles["row"] >= 0].sort_values(["split", "id"], ascending=[False, True])
    shards = {split: open_shards(results.packed(split), split) for split in ("train", "test")}
    pairs = tables.read(results.root / "overlaps.parquet", tables.OVERLAPS)
    figures, notes = draw_mosaics(shards, tiles, pairs)
    assert (len(figures), notes) == (2, [])
    data = base64.b64decode(re.search(r"webp;base64,([^\"]+)", figures[0])[1])
    picture = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    mask = np.zeros((160, 144), bool)
    mask[:, :96] = mask[32:128, 48:] = True
    np.testing.assert_array_equal(picture[..., 3], 255 * mask)
    assert np.abs(picture[..., :3] - slide)[mask].mean() < 10
    # At a wrong position, the difference is much larger.
    assert np.abs(picture[:-16, :, :3] - slide[16:])[mask[:-16] & mask[16:]].mean() > 40


def test_a_region_with_contradictory_offsets_is_not_drawn(faulty):
    _, names, results = faulty
    path = results.root / "overlaps.parquet"
    pairs = tables.read(path, tables.OVERLAPS)
    assert set(names[:3]) <= set(pairs["id_a"]) | set(pairs["id_b"])
    pairs.loc[pairs["id_a"].isin(names[:3]).idxmax(), "dy"] += 16
    tables.write(pairs, path, tables.OVERLAPS)
    page = write_page(results)
    assert (
        f"Not drawn: region of 3 tiles with tile {min(names[:3])}: the offsets of its pairs contradict each other"
        in page.text
    )
    assert page.source.count('<figure class="mosaic"') == 1


def test_excluded_tiles_are_counted(faulty):
    _, _, results = faulty
    page = write_page(run_stages(results, leave_out=("black",)))
    assert "1 training tile, 0 with tumour; 0 test tiles. 1 excluded from training." in page.text


def test_an_archive_without_findings(archive, tmp_path):
    page = write_page(run_stages(Results(archive.write(tmp_path / "a.zip"), tmp_path / "r").prepare()))
    page.check_self_contained()
    assert "Warnings" not in page.text
    assert "No faults: every listed tile exists" in page.text
    assert "No duplicates: no two tiles have identical pixels." in page.text
    assert "No two tiles share tissue." in page.text
    assert "No test tile shares tissue with a training tile." in page.text
    assert "random folds 0.0 % these folds 0.0 %" in page.text
    assert "predicts its label with an AUC of 0.500" in page.text
    assert page.text.count("None.") == 3
    assert "mosaic" not in page.text


def test_names_are_escaped(faulty):
    _, names, results = faulty
    for file, schema, columns in (("tiles", tables.TILES, ["id"]), ("overlaps", tables.OVERLAPS, ["id_a", "id_b"])):
        path = results.root / f"{file}.parquet"
        frame = tables.read(path, schema)
        frame[columns] = frame[columns].replace({name: f"{HOSTILE}{name}" for name in names})
        tables.write(frame, path, schema)
    leaks = read_json(results.root / "leaks.json")
    leaks["duplicates"]["sets"][0]["pixels_sha1"] = HOSTILE
    leaks["duplicates"]["sets"][0]["tiles"][1]["id"] = HOSTILE
    write_json(results.root / "leaks.json", leaks)
    page = write_page(results, name=HOSTILE)
    assert page.all("script") == [{}]
    assert page.source.count("<script>") == 1
    assert page.text.count(HOSTILE) >= 4


def test_the_classifier_has_a_card_beside_random_splits_alone(faulty):
    """Changed: the AUC of train versus test and of random splits, and the interval of the number of neighbours."""
    results = faulty[2]
    path = results.root / "leaks.json"
    leaks = read_json(path)
    splits = {"splits": 20, "lowest": 0.59, "median": 0.78, "highest": 0.92}
    expected = {0.8: "is not above this range", 0.95: "is above all of them"}
    for auc, text in expected.items():
        leaks["adversarial"] |= {"auc": auc, "random_splits": splits, "slides_known": 0.25}
        write_json(path, leaks)
        page = write_page(results)
        assert (
            f"Train versus test classifier {auc:.3f} AUC from image statistics; random splits: 0.590 to 0.920"
            in page.text
        )
        assert text in page.text
        assert "The slide of 75.0 % of the training tiles is unknown." in page.text
    leaks["adversarial"] |= {"random_splits": None}
    leaks["neighbours"] |= {"auc_low": 0.4, "auc_high": 0.6}
    write_json(path, leaks)
    page = write_page(results)
    assert "Train versus test classifier 0" not in page.text
    assert "too few slides to compare it with random splits" in page.text
    assert "An association is not shown." in page.text and "reflects how tiles were sampled" not in page.text


def test_components_are_counted_by_size_class():
    sizes = [{"tiles": 2, "components": 7}, {"tiles": 4, "components": 2}, {"tiles": 5, "components": 1},
             {"tiles": 250, "components": 1}]  # fmt: skip
    assert size_classes(sizes) == [
        {"size": "2", "components": 7, "tiles": 14},
        {"size": "4 to 5", "components": 3, "tiles": 13},
        {"size": "100 or more", "components": 1, "tiles": 250},
    ]


@pytest.mark.parametrize(
    ("splits", "labels", "text"),
    [
        (["train", "train", "test"], [1, 0, -1], "2 training + 1 test tiles, 1 of 2 labelled tiles with tumour"),
        (["test", "test"], [-1, -1], "2 test tiles"),
    ],
)
def test_tile_counts(splits, labels, text):
    assert tile_counts(pd.DataFrame({"split": splits, "label": labels})) == text


def test_each_colour_chart_states_the_medians_of_both_splits(random):
    frame = pd.DataFrame(random.normal(100, 10, (400, len(tables.COLOUR))), columns=list(tables.COLOUR))
    frame["split"] = np.where(np.arange(400) < 300, "train", "test")
    frame.loc[frame["split"] == "test", "mean_g"] += 50
    charts = colour_charts(frame)
    assert len(charts) == len(CHARTED)
    green = frame.groupby("split")["mean_g"].median()
    assert f"Mean of green. Medians: train {green['train']:.1f}, test {green['test']:.1f}." in charts[2]
