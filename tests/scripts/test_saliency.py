"""Attribution of predictions to pixels: which tiles, exact values of a linear network, and the table."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from histo import tables
from histo.errors import InputError
from histo.geometry import COMPETITION, Geometry
from histo.networks.network import Network, build
from histo.training import checkpoints
from saliency import TILES, attributions, centre_shares, confident_tiles, maps, saliency
from support.training import CODE, images, make_training_tiles, settings

CPU = torch.device("cpu")


class Linear(nn.Module):
    """Logits that are weighted sums of the pixels; weight: [outputs, 3, side, side]."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        return torch.einsum("nchw,ochw->no", x, self.weight)


def test_the_most_confident_tiles_of_each_kind_are_chosen():
    count = 4 * TILES
    frame = pd.DataFrame({"id": [f"{k:03d}" for k in range(count)], "label": np.arange(count) % 2})
    frame["probability"] = np.linspace(0, 1, count)
    found = confident_tiles(frame, 2)
    each = TILES // 4
    kinds = list(zip(found["label"], found["guess"], strict=True))
    assert kinds == [(0, 0)] * each + [(1, 1)] * each + [(0, 1)] * each + [(1, 0)] * each
    ids = [found["id"].tolist()[k * each :][:2] for k in range(4)]
    assert ids == [["000", "002"], ["127", "125"], ["126", "124"], ["001", "003"]]
    np.testing.assert_allclose(found["confidence"][[0, 3 * each]], [1, 126 / 127])


def test_of_more_classes_the_confidence_is_that_of_the_predicted_one():
    frame = pd.DataFrame({"id": list("abc"), "label": [0, 1, 2], "probability_0": [0.6, 0.5, 0.1]})
    frame = frame.assign(probability_1=[0.3, 0.4, 0.2], probability_2=[0.1, 0.1, 0.7])
    found = confident_tiles(frame, 3)
    assert found[["id", "guess", "confidence"]].to_numpy().tolist() == [["a", 0, 0.6], ["c", 2, 0.7], ["b", 0, 0.5]]


@pytest.mark.parametrize("classes", [2, 3])
def test_the_attributions_of_a_linear_network_are_its_terms(classes):
    geometry = Geometry(96, 32, classes)
    weight = torch.randn(geometry.outputs, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    network = Network(Linear(weight), crop=64)
    tiles, guesses = images(3), np.array([0, classes - 1, 1])
    found, errors = attributions(network, tiles, guesses, geometry, CPU)
    inside = torch.from_numpy(tiles[:, 16:80, 16:80]).permute(0, 3, 1, 2) / 255
    own = weight[torch.from_numpy(guesses)] if classes == 3 else weight
    expected = (own * (inside - network.mean) / network.std).sum(1)
    np.testing.assert_allclose(found[:, 16:80, 16:80], expected, atol=1e-4)
    assert not found[:, :16].any() and not found[:, :, 80:].any()
    assert (errors < 1e-5).all()


def test_shares_and_maps():
    pixels = np.zeros((3, 96, 96))
    pixels[0] = -1
    pixels[1, 40, 40] = 2
    pixels[1, 10, 10] = -6
    np.testing.assert_allclose(centre_shares(pixels, COMPETITION), [1 / 9, 0.25, np.nan])
    found = maps(pixels)
    assert (found[0] == -127).all() and not found[2].any()
    assert found[1, 10, 10] == -127 and found[1, 40, 40] == 42 and found[1, 70, 70] == 0


def test_frozen_layers_pass_gradients_to_the_pixels():
    torch.manual_seed(0)
    chosen = {"name": "efficientnet_lite0", "weights": "none", "dropout": 0.0, "frozen_stages": 3}
    network = build(chosen, 32).eval().requires_grad_(False)
    found, errors = attributions(network, images(1), np.array([1]), COMPETITION, CPU)
    assert np.abs(found[:, 32:64, 32:64]).min() > 0 and errors[0] < 0.2


def test_a_network_without_gradients_is_an_error():
    class Cut(Linear):
        def forward(self, x):
            return super().forward(x.detach())

    network = Network(Cut(torch.ones(1, 3, 32, 32)), crop=32).requires_grad_(False)
    with pytest.raises(InputError, match="expected logits with a gradient with respect to the pixels, found none"):
        attributions(network, images(1), np.array([1]), COMPETITION, CPU)


def test_each_tile_is_explained_by_the_network_of_its_fold(tmp_path, random):
    shards = make_training_tiles(tmp_path)
    folds = tables.read(tmp_path / "folds.parquet", tables.FOLDS)
    chosen, weights, predictions, networks = settings(center_crop=64), [], [], []
    for fold in range(3):
        torch.manual_seed(fold)
        networks.append(build(chosen.network.model_dump(), 64).eval())
        weights.append(tmp_path / f"weights-{fold}.pt")
        checkpoints.save(
            weights[-1], settings=chosen.model_dump(), fold=fold, auc=0.5, epoch=1, tiles={}, code=CODE,
            weights={"last": networks[-1].state_dict()},
        )  # fmt: skip
        frame = folds[folds["fold"] == fold].assign(logit=0.0, logit_none=0.0, logit_flips=0.0)
        predictions.append(tmp_path / f"oof-{fold}.parquet")
        tables.write(frame.assign(probability=random.random(len(frame))), predictions[-1], tables.PREDICTIONS)
    output = tmp_path / "saliency.parquet"
    saliency(weights, shards, tmp_path / "folds.parquet", predictions, output)
    table = tables.read(output, tables.saliency(96))
    assert len(table) == TILES and set(table["fold"]) == {0, 1, 2}
    assert (table["area"] == 0.25).all()
    right = (table["label"] == table["guess"]).to_numpy()
    assert right[: TILES // 2].all() and not right[TILES // 2 :].any()
    row = table.iloc[5]
    place = folds[folds["id"] == row["id"]].iloc[0]
    assert place["fold"] == row["fold"]
    tile = images(66 if place["shard"] else 60, place["shard"], np.arange(66 if place["shard"] else 60) % 2)
    pixels, _ = attributions(networks[row["fold"]], tile[[place["row"]]], np.array([1]), COMPETITION, CPU)
    np.testing.assert_allclose(centre_shares(pixels, COMPETITION)[0], row["share"], rtol=1e-3)
    assert np.abs(maps(pixels)[0].ravel() - row["map"].astype(int)).max() <= 1
