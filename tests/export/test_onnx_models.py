"""Networks as ONNX models give the logits of the workflow."""

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch

from histo.errors import InputError
from histo.export import onnx_models
from histo.export.onnx_models import Ensemble, export, largest_difference, log_mean, write_onnx
from histo.networks.network import build
from histo.tiles.shards import open_shards, write_shard
from histo.training.loader import TileLoader
from histo.training.prediction import predictions
from support.finished_run import stained_tiles

P4M = {"name": "p4m_residual", "width": 8, "blocks": 1, "hidden": 8, "dropout": 0.1, "stem": "stride"}
RESIDUAL = {"name": "residual", "width": 8, "blocks": 1, "dropout": 0.0}


def make_network(settings, crop, **options):
    torch.manual_seed(0)
    network = build(settings, crop, **options)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def test_log_mean_is_the_logit_of_the_mean_probability():
    logits = torch.tensor([[1.0, -2.0, 30.0], [90.0, 95.0, 100.0]], dtype=torch.float64)
    p = torch.sigmoid(logits[0]).mean()
    assert log_mean(logits)[0].item() == pytest.approx(torch.log(p / (1 - p)).item(), rel=1e-12)
    tail = torch.exp(-logits[1]).mean()  # 1 - p, which would be rounded to 0
    assert log_mean(logits)[1].item() == pytest.approx(-torch.log(tail).item(), rel=1e-9)
    classes = torch.randn(4, 3, 5, dtype=torch.float64)
    expected = torch.softmax(classes, 2).mean(1)
    torch.testing.assert_close(torch.softmax(log_mean(classes), 1), expected)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_an_ensemble_gives_the_probabilities_of_the_workflow(tmp_path, average):
    networks = [make_network(P4M, 64), make_network(RESIDUAL, 96)]
    images = stained_tiles(5)
    ids = [f"{k}" for k in range(5)]
    write_shard(tmp_path / "a.h5", split="test", number=0, ids=ids, labels=[-1] * 5, batches=[images], code="test")
    rows = pd.DataFrame({"id": ids, "shard": 0, "row": range(5), "label": -1})
    tiles = TileLoader(open_shards([tmp_path / "a.h5"], "test"), rows, torch.device("cpu"))
    expected = [
        predictions(network, tiles, choice="float32", tta="all", average=average, fold=0)["probability"].to_numpy()
        for network in networks
    ]
    with torch.inference_mode():
        logits, probabilities = Ensemble(networks, "all", average)(torch.from_numpy(images))
    np.testing.assert_allclose(probabilities.numpy(), np.mean(expected, axis=0), rtol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits.numpy())), probabilities.numpy(), rtol=1e-5)


class Brightness(torch.nn.Module):
    """A network with logits from -40 to 40."""

    def forward(self, tiles):
        return (tiles.float().mean((1, 2, 3)) - 127.5) * 80 / 255


def test_extreme_logits_of_an_ensemble_agree(tmp_path):
    model = Ensemble([Brightness(), Brightness()], "none", "logits")
    write_onnx(export(model, 32), tmp_path / "ensemble.onnx")
    tiles = np.arange(256, dtype=np.uint8)[:, None, None, None].repeat(32, 1).repeat(32, 2).repeat(3, 3)
    expected = (np.arange(256) - 127.5) * 80 / 255
    np.testing.assert_allclose(model(torch.from_numpy(tiles))[0].numpy(), expected, atol=2e-5)
    assert largest_difference(model, tmp_path / "ensemble.onnx", tiles) < 2e-5


@pytest.mark.slow
def test_an_onnx_file_gives_the_logits_for_any_number_of_tiles(tmp_path, monkeypatch):
    networks = [make_network(P4M, 64), make_network(RESIDUAL, 96, input_size=64)]
    model = Ensemble(networks, "flips", "probabilities")
    path = tmp_path / "ensemble.onnx"
    write_onnx(export(model, 96), path)
    file = onnx.load(path)
    assert [(entry.domain, entry.version) for entry in file.opset_import if not entry.domain] == [("", 18)]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 7):
        tiles = stained_tiles(count, count)
        logits, probabilities = session.run(None, {"tiles": tiles})
        with torch.inference_mode():
            expected = model(torch.from_numpy(tiles))
        np.testing.assert_allclose(logits, expected[0].numpy(), atol=1e-4)
        np.testing.assert_allclose(probabilities, expected[1].numpy(), atol=1e-5)
    assert [item.name for item in session.get_outputs()] == ["logit", "probability"]
    assert 0 <= largest_difference(model, path, stained_tiles(3)) <= 1e-4
    monkeypatch.setattr(onnx_models, "TOLERANCE", -1.0)
    with pytest.raises(InputError, match="expected the logits of PyTorch"):
        largest_difference(model, path, stained_tiles(3))
    assert list(tmp_path.iterdir()) == [path]
