"""The map of features: last layers, comparable networks, principal components, UMAP, and the table."""

import logging
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from feature_map import ANCHORS, BLOCK, feature_map, features, principal_components, sample, similarities, umap_axes
from histo import tables
from histo.errors import InputError
from histo.networks.network import Network, build
from histo.training import checkpoints
from support.training import CODE, images, make_split, settings, write_folds, write_tiles

compiles = pytest.mark.slow  # umap-learn compiles itself, once per process, for ten seconds or more


def test_the_sample_is_random_and_always_the_same():
    rows = pd.DataFrame({"id": [f"{k:04d}" for k in range(3000)][::-1]})
    found = sample(rows, 500)
    assert len(found) == 500 and found["id"].is_monotonic_increasing and found["id"].is_unique
    assert found.equals(sample(rows.sample(frac=1, random_state=1), 500))
    assert abs(found["id"].astype(int).mean() - 1500) < 150
    assert sample(rows, 9000)["id"].tolist() == sorted(rows["id"])


class Tiles:
    """Batches of tiles, as of a TileLoader."""

    def __init__(self, pixels):
        self.pixels = torch.from_numpy(pixels)

    def __len__(self):
        return len(self.pixels)

    def batches(self, order):
        return ((self.pixels[positions], None, None) for positions in order)


def features_of(network, pixels):
    return np.concatenate(list(features(network, Tiles(pixels))))


class Body(nn.Module):
    """Mean of each channel, twice through layers; logits."""

    def __init__(self, last):
        super().__init__()
        self.last, self.unused = last, nn.Linear(7, 7)

    def forward(self, x):
        if isinstance(self.last, nn.Conv2d):
            return self.last(x).mean((2, 3))
        return self.last(x.mean((2, 3)))


@pytest.mark.parametrize("last", [nn.Linear(3, 1), nn.Sequential(nn.ReLU(), nn.Linear(3, 5), nn.Linear(5, 1))])
def test_features_are_the_input_of_the_last_linear_layer(last):
    network, tiles = Network(Body(last), crop=32).eval(), images(4)
    expected = (torch.from_numpy(tiles[:, 32:64, 32:64]).permute(0, 3, 1, 2) / 255 - network.mean) / network.std
    expected = expected.mean((2, 3))
    if len(list(last.children())):
        expected = last[1](last[0](expected))
    np.testing.assert_allclose(features_of(network, tiles), expected.detach(), atol=1e-5)
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_without_a_linear_layer_the_input_of_the_last_convolution_is_averaged():
    body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network, tiles = Network(body, crop=32).eval(), images(2)
    inside = torch.from_numpy(tiles[:, 32:64, 32:64]).permute(0, 3, 1, 2) / 255
    expected = body[1](body[0]((inside - network.mean) / network.std)).mean((2, 3))
    np.testing.assert_allclose(features_of(network, tiles), expected.detach(), atol=1e-5)


def test_similarities_do_not_depend_on_the_axes_of_a_network(random):
    own, anchors = random.normal(size=(20, 6)), random.normal(size=(9, 6))
    rotation = np.linalg.qr(random.normal(size=(6, 6)))[0]
    found = similarities(own, anchors)
    np.testing.assert_allclose(found, similarities(3 * own @ rotation + 5, 3 * anchors @ rotation + 5), atol=1e-9)
    difference, other = own[4] - anchors.mean(0), anchors[2] - anchors.mean(0)
    assert found[4, 2] == pytest.approx(difference @ other / np.linalg.norm(difference) / np.linalg.norm(other))
    assert not similarities(own, np.ones((3, 6))).any()


def test_principal_components(random):
    scores = random.normal(size=(200, 2)) * [5, 2]
    values = scores @ np.linalg.qr(random.normal(size=(6, 2)))[0].T + 7
    labels = (scores[:, 0] < 0).astype(float)
    found, shares = principal_components(values, labels)
    np.testing.assert_allclose(found.var(axis=0), np.linalg.eigvalsh(np.cov(scores.T, ddof=0))[::-1])
    np.testing.assert_allclose(shares, found.var(axis=0) / found.var(axis=0).sum())
    assert np.corrcoef(found[:, 0], labels)[0, 1] > 0.5
    still, none = principal_components(np.ones((3, 1)), np.array([0.0, 1, 1]))
    assert not still.any() and not none.any()


def test_principal_components_of_more_tiles_than_a_block(random):
    values = random.normal(size=(BLOCK + 100, 4)) @ random.normal(size=(4, 4)) + 3
    labels = np.arange(len(values)) % 2.0
    found, shares = principal_components(values.astype(np.float32), labels)
    left, scales, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(abs(found), abs(left[:, :2] * scales[:2]), atol=1e-4)
    np.testing.assert_allclose(shares, scales[:2] ** 2 / (scales**2).sum(), rtol=1e-5)


def clusters(random, count, size):
    """Return clusters of `size` points at corners of a simplex in ten dimensions, and the cluster of each point."""
    of = np.repeat(np.arange(count), size)
    return np.eye(10)[of] + random.normal(scale=0.15, size=(len(of), 10)), of


def nearest(places, count):
    """Return the nearest other points of each, [N, count]."""
    distances = np.linalg.norm(places[:, None] - places, axis=2)
    np.fill_diagonal(distances, np.inf)
    return distances.argsort(axis=1)[:, :count]


@compiles
def test_umap_keeps_clusters_apart_and_is_always_the_same(random):
    values, of = clusters(random, 2, 30)
    start, _ = principal_components(values, of.astype(float))
    found = umap_axes(values, start)
    assert (of[nearest(found, 10)] == of[:, None]).all()
    assert np.array_equal(found, umap_axes(values, start))
    assert np.corrcoef(found[:, 0], start[:, 0])[0, 1] > 0.9  # it starts there


@compiles
def test_umap_separates_clusters_that_two_principal_components_mix(random):
    values, of = clusters(random, 7, 20)
    start, _ = principal_components(values, of.astype(float))
    found = umap_axes(values, start)
    assert (of[nearest(start, 5)] == of[:, None]).mean() < 0.9
    assert (of[nearest(found, 5)] == of[:, None]).mean() > 0.99


@compiles
@pytest.mark.parametrize("count", [3, 4, 5, 15, 16])
def test_umap_of_few_tiles(random, count):
    values = random.normal(size=(count, 6))
    found = umap_axes(values, principal_components(values, np.arange(count) % 2)[0])
    assert np.isfinite(found).all() and len(np.unique(found, axis=0)) == count


@compiles
def test_equal_tiles_have_equal_places_on_a_umap(random):
    """More of them than neighbours."""
    values = random.normal(size=(25, 6))
    values[3:23] = values[2]
    found = umap_axes(values, principal_components(values, np.arange(25) % 2)[0])
    assert len(np.unique(found, axis=0)) == 5
    assert (found[3:23] == found[2]).all()


def test_no_umap_of_fewer_than_three_different_tiles_or_of_tiles_on_a_line(random):
    two = np.eye(6)[[0, 1, 1, 0, 1]] + random.normal(scale=1e-7, size=(5, 6))
    line = np.arange(20)[:, None] * random.normal(size=6)
    for values in (two[:1], two[1:3], two, line):
        assert umap_axes(values, principal_components(values, np.arange(len(values)) % 2)[0]) is None


def test_without_umap_learn_the_message_says_what_to_install(random, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(InputError, match=r"^feature_map\.method: umap: .* umap-learn, found none\. Install it: pip"):
        umap_axes(random.normal(size=(9, 3)), random.normal(size=(9, 2)))


@pytest.fixture
def data(tmp_path):
    """Shards of both splits, folds, tiles, and the same network as that of all three folds."""
    train, frame = make_split(tmp_path, "train", (20, 22))
    test, test_frame = make_split(tmp_path, "test", (9, 8))
    test_frame.loc[2, "kept"] = False
    write_folds(frame, tmp_path / "folds.parquet")
    write_tiles(pd.concat([test_frame, frame]), tmp_path / "tiles.parquet")
    chosen = settings(center_crop=96)
    torch.manual_seed(0)
    network = build(chosen.network.model_dump(), 96).eval()
    for fold in range(3):
        checkpoints.save(
            tmp_path / f"weights-{fold}.pt", settings=chosen.model_dump(), fold=fold, auc=0.5, epoch=1, tiles={},
            code=CODE, weights={"last": network.state_dict()},
        )  # fmt: skip
    return tmp_path, train, test, network


def run(data, method="pca"):
    folder, train, test, _ = data
    weights = [folder / f"weights-{fold}.pt" for fold in range(3)]
    folds, tiles = folder / "folds.parquet", folder / "tiles.parquet"
    feature_map(weights, train, test, folds, tiles, folder / "map", method=method)
    return tables.read(folder / "map", tables.FEATURE_MAP)


def test_the_map_has_all_tiles_at_the_components_of_their_similarities(data, monkeypatch):
    folder, _, _, network = data
    monkeypatch.setattr("feature_map.INFERENCE_BATCH", 5)
    table = run(data)
    folds = tables.read(folder / "folds.parquet", tables.FOLDS).sort_values("id", ignore_index=True)
    columns = ["id", "label", "group", "fold"]
    assert table[columns].equals(folds[columns])
    # As if one network had seen all tiles, since those of the folds are the same.
    own = np.concatenate([images(count, k, np.arange(count) % 2) for k, count in enumerate((20, 22))])
    anchors = np.concatenate([images(count, 10 + k, np.arange(count) % 2) for k, count in enumerate((9, 8))])
    assert len(anchors) - 1 < ANCHORS
    relative = similarities(features_of(network, own), features_of(network, np.delete(anchors, 2, axis=0)))
    expected, shares = principal_components(relative, folds["label"].to_numpy(float))
    np.testing.assert_allclose(table[["x", "y"]], expected, atol=1e-3)
    np.testing.assert_allclose(table[["explained_x", "explained_y"]].iloc[0], shares, rtol=1e-3)


@compiles
def test_the_map_by_umap_has_no_shares_of_the_variance(data):
    table, other = run(data, "umap"), run(data)
    assert table["id"].equals(other["id"]) and table[["explained_x", "explained_y"]].isna().all(axis=None)
    assert np.isfinite(table[["x", "y"]]).all(axis=None)
    assert abs(table[["x", "y"]] - other[["x", "y"]]).min(axis=None) > 0
    assert table.equals(run(data, "umap"))


def keep_test_tiles(data, count):
    """Keep the first test tiles only."""
    path = data[0] / "tiles.parquet"
    tiles = tables.read(path, tables.TILES)
    tiles.loc[np.flatnonzero(tiles["split"] == "test")[count:], "kept"] = False
    tables.write(tiles, path, tables.TILES)


@pytest.mark.parametrize("method", ["pca", "umap"])
def test_without_test_tiles_the_map_is_empty(data, method):
    keep_test_tiles(data, 0)
    assert run(data, method).empty


def test_similarities_on_a_line_are_mapped_by_pca(data, caplog):
    keep_test_tiles(data, 2)  # on both sides of their mean: the two similarities are opposite
    expected = run(data)
    assert expected["explained_x"].iloc[0] == pytest.approx(1)
    with caplog.at_level(logging.WARNING):
        assert run(data, "umap").equals(expected)
    assert "The similarities lie on a line, which PCA shows completely: PCA in the place of UMAP." in caplog.messages
