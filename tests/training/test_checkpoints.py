"""Weights files: complete, reproducible to the byte, checked when they are read."""

import pytest
import torch

from histo.errors import InputError
from histo.networks.network import build
from histo.training import checkpoints
from support.training import CODE, images, settings


def write(path, **changes):
    chosen = settings(checkpoint="best", **changes)
    torch.manual_seed(1)
    best, last = (build(chosen.network.model_dump(), chosen.center_crop) for _ in range(2))
    best.set_normalisation([0.5, 0.25, 0.75], [0.25, 0.5, 0.125])
    weights = {"last": last.state_dict(), "best": best.state_dict()}
    tiles = {"training": 10, "validation": 5}
    checkpoints.save(
        path, settings=chosen.model_dump(), fold=2, auc=0.875, epoch=4, tiles=tiles, weights=weights, code=CODE
    )  # fmt: skip
    return best.eval()


def test_a_weights_file_contains_all_that_prediction_needs(tmp_path):
    path = tmp_path / "weights.pt"
    best = write(path)
    plain = torch.load(path, weights_only=True)
    assert (
        plain["settings"] == settings(checkpoint="best").model_dump() and plain["fold"] == 2 and plain["auc"] == 0.875
    )
    assert plain["normalisation"] == {"mean": [0.5, 0.25, 0.75], "std": [0.25, 0.5, 0.125]}
    assert plain["classes"]["1"].startswith("tumour") and plain["code"] == CODE
    assert plain["versions"]["torch"] == torch.__version__
    assert plain["tiles"] == {"training": 10, "validation": 5} and set(plain["weights"]) == {"last", "best"}
    network = checkpoints.load_network(checkpoints.load(path))
    batch = torch.from_numpy(images(3)).permute(0, 3, 1, 2)
    assert not network.training and torch.equal(network(batch), best(batch))


def test_equal_content_gives_equal_bytes(tmp_path):
    write(tmp_path / "a.pt")
    write(tmp_path / "other name.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "other name.pt").read_bytes()


def test_truncated_and_other_files_are_refused_with_a_reason(tmp_path):
    path = tmp_path / "weights.pt"
    with pytest.raises(InputError, match=r"weights\.pt: no such file"):
        checkpoints.load(path)
    write(path)
    content = path.read_bytes()
    for damaged in (b"", content[: len(content) // 2], content[:-40], b"text"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"weights\.pt: not a readable weights file.*Delete it"):
            checkpoints.load(path)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="expected a weights file of format 1, found list"):
        checkpoints.load(path)
    torch.save({"format": 0}, path)
    with pytest.raises(InputError, match="expected a weights file of format 1, found 0"):
        checkpoints.load(path)
    torch.save({"format": 1, "settings": {"checkpoint": "last"}, "weights": {}}, path)
    with pytest.raises(InputError, match="without a usable fold, auc, epoch"):
        checkpoints.load(path)


def test_weights_of_another_network_are_refused(tmp_path):
    write(tmp_path / "weights.pt")
    checkpoint = checkpoints.load(tmp_path / "weights.pt")
    checkpoint["settings"]["network"]["width"] = 16
    with pytest.raises(InputError, match="the weights do not fit the network"):
        checkpoints.load_network(checkpoint)
