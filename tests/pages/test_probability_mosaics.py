"""Out-of-fold probabilities on mosaics: which regions are shown, and their numbers."""

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from histo.pages.mosaics import cell_means, colours_of
from histo.pages.probability_mosaics import SHOWN, probability_mosaics
from histo.tiles.shards import open_shards, write_shard


@pytest.fixture
def shards(random, tmp_path):
    images, opened = random.integers(0, 256, (40, 96, 96, 3), np.uint8), {}
    for split in ("train", "test"):
        path = tmp_path / f"{split}-00000.h5"
        ids = [f"t{k:02d}" for k in range(40)]
        write_shard(path, split=split, number=0, ids=ids, labels=[-1] * 40, batches=[images], code="test")
        opened[split] = open_shards([path], split)
    return opened


def table(labels):
    """Tiles t00, t01, … with these labels; the split is train where the label is known."""
    frame = pd.DataFrame({"label": labels, "shard": 0, "row": range(len(labels))})
    return frame.assign(
        id=[f"t{k:02d}" for k in range(len(labels))], split=np.where(frame["label"] < 0, "test", "train")
    )


def pairs(*rows):
    return pd.DataFrame([(f"t{a:02d}", f"t{b:02d}", 16, 32) for a, b in rows], columns=["id_a", "id_b", "dy", "dx"])


def test_regions_of_both_labels_are_painted_with_the_probabilities(shards):
    tiles = table([0, 1, 1, 0, 0, 0, 1, 1])
    oof = pd.DataFrame({"id": tiles["id"], "probability": [0.1, 0.8, 0.3, 0.2, 0.2, 0.2, 0.9, 0.9]})
    # The first region has one label, the second both.
    (markup,) = probability_mosaics(shards, tiles, pairs((3, 4), (4, 5), (0, 2)), oof, ranks=False)
    assert "2 tiles; of 2 predicted, 1 with tumour, 1 misclassified" in markup
    painted = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(re.findall(r"webp;base64,([^\"]+)", markup)[1]))).convert("RGBA")
    )
    expected = colours_of(cell_means(np.array([(0, 0), (16, 32)]), np.array([0.1, 0.3])))
    seen = expected[..., 3] > 0
    np.testing.assert_array_equal(painted[seen], expected[seen])
    (ranked,) = probability_mosaics(shards, tiles, pairs((0, 2)), oof, ranks=True)
    assert "misclassified" not in ranked and "out-of-fold ranks" in ranked


def test_tiles_without_a_prediction_or_pixels_do_not_count(shards):
    tiles = table([0, 1, -1, 0, 1, 1])
    tiles.loc[4, "row"] = -1
    oof = pd.DataFrame({"id": ["t00", "t03"], "probability": [0.6, 0.2]})
    links = pairs((0, 1), (0, 2), (3, 4))
    assert probability_mosaics(shards, tiles, links, oof, ranks=False) == []  # t01 is not predicted
    oof = pd.DataFrame({"id": ["t00", "t01", "t03"], "probability": [0.6, 0.5, 0.2]})
    (markup,) = probability_mosaics(shards, tiles, links, oof, ranks=False)
    assert "3 tiles; of 2 predicted, 1 with tumour, 1 misclassified" in markup


def test_the_largest_regions_are_shown(shards):
    tiles = table([0, 1] * 20)
    oof = pd.DataFrame({"id": tiles["id"], "probability": 0.5})
    # Pairs but the last, of three tiles; the offsets of the first contradict each other.
    links = pairs((0, 1), (1, 2), (0, 2), *((k, k + 1) for k in range(4, 16, 2)), (20, 21), (21, 22))
    found = probability_mosaics(shards, tiles, links, oof, ranks=False)
    assert ["of 3 predicted" in markup for markup in found] == [True, *[False] * (SHOWN - 1)]
    assert "including tile t20" in found[0] and "including tile t04" in found[1]
