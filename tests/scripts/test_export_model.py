"""Export of a model: what the files say, and that they agree with the run."""

import re

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from safetensors.torch import load_file

from export_model import export_model
from histo.errors import InputError
from histo.export.model_card import model_card
from histo.files import read_json, write_json
from histo.tiles.shards import Shard, write_shard
from histo.training import checkpoints
from support import ROOT
from support.finished_run import TEMPERATURE, write_run

ESTIMATE = {"value": 0.75, "low": 0.7, "high": 0.8}
METRICS = {
    "auc": 0.912345678, "auc_low": 0.9, "auc_high": 0.95, "folds": [{"auc": 0.91}, {"auc": 0.93}], "tiles": 1200,
    "groups": 300, "probability": {"accuracy": ESTIMATE, "temperature": {"temperature": TEMPERATURE}},
}  # fmt: skip
ROW = {"lowest": 1.0, "highest": 2.5, "tiles": 40, "positives": 21, "accuracy": ESTIMATE, "auc": ESTIMATE}
DESCRIPTION = {
    "model": "tiny", "dataset": "mine", "source": "kaggle", "networks": ["fold-0", "fold-1"], "tta": "flips",
    "network": {"name": "residual"}, "classes": {"0": "no tumour", "1": "tumour", "logit": "of class 1"},
    "geometry": {"tile_side": 96, "centre_side": 32, "classes": 2}, "temperature": TEMPERATURE, "stain": None,
    "onnx": {"opset": 18, "largest_difference": 0.0000123},
}  # fmt: skip


def test_card_has_the_figures_in_the_form_of_hugging_face():
    card = model_card(DESCRIPTION, METRICS, [{"name": "brightness", "rows": [ROW]}])
    _, header, text = card.split("---\n", 2)
    found = yaml.safe_load(header)
    assert found["pipeline_tag"] == "image-classification"
    result = found["model-index"][0]["results"][0]
    assert result["metrics"] == [{"type": "roc_auc", "value": 0.912346, "name": "out-of-fold ROC AUC"}]
    assert result["dataset"] == {"name": "mine", "type": "mine"}
    for expected in (
        "| ROC AUC | 0.9123 (0.9000 to 0.9500) |",
        "| Accuracy | 0.7500 (0.7000 to 0.8000) |",
        "AUC by fold: 0.9100, 0.9300.",
        "1,200 training tiles of 96 × 96 pixels in 300 groups of related tiles. PatchCamelyon",
        "| 1.0 to 2.5 | 40 | 21 | 0.7500 (0.7000 to 0.8000) | 0.7500 (0.7000 to 0.8000) |",
        "Divide the logit by 1.5,",
        "not for diagnosis",
        "at most 1.2e-05 from",
    ):
        assert expected in text
    assert "stain normalisation" not in text and "The networks in this folder are others" not in text
    other = model_card(DESCRIPTION | {"source": "archive", "stain": "macenko", "temperature": None}, METRICS, None)
    assert "PatchCamelyon" not in other and "by stratum" not in other and "Divide" not in other
    assert "after stain normalisation (`macenko`)" in other
    full = model_card(DESCRIPTION | {"networks": ["full-0", "full-1"]}, METRICS, None)
    assert "The networks in this folder are others, trained on all training tiles." in full


def export(run, out, weights, **changes):
    settings = {"model": "tiny", "dataset": "small", "source": "archive", "tta": "flips", "average": "logits"}
    metrics, ensemble = run / "evaluate.json", run / "ensemble.json"
    write_json(metrics, METRICS)
    write_json(ensemble, {"by_stratum": [{"name": "sharpness", "rows": [ROW]}]})
    export_model(weights, metrics, ensemble, run / "pack" / "test-00000.h5", out, **settings | changes)


@pytest.mark.slow
def test_files_agree_with_the_run(tmp_path, monkeypatch, capsys):
    write_run(tmp_path, test=10)
    weights = [tmp_path / "train" / "tiny" / f"fold-{k}" / "weights.pt" for k in (0, 1)]
    export(tmp_path, tmp_path / "export", weights)
    assert {path.name for path in (tmp_path / "export").iterdir()} == {
        *(f"{name}.{ending}" for name in ("fold-0", "fold-1", "ensemble") for ending in ("onnx", "pt2")),
        "model.safetensors", "model.json", "README.md",
    }  # fmt: skip
    description = read_json(tmp_path / "export" / "model.json")
    assert description["temperature"] == TEMPERATURE
    assert description["onnx"]["input"]["tiles"] == ["N", 96, 96, 3]
    assert 0 < description["onnx"]["largest_difference"] <= 1e-4
    tensors = load_file(tmp_path / "export" / "model.safetensors")
    images = Shard(tmp_path / "pack" / "test-00000.h5").images
    views = [images, images[:, :, ::-1], images[:, ::-1], images[:, ::-1, ::-1]]
    means = []
    for k, path in enumerate(weights):
        network = checkpoints.load_network(checkpoints.load(path))
        for key, value in network.state_dict().items():
            assert torch.equal(tensors[f"fold-{k}.{key}"], value)
        with torch.inference_mode():
            logits = [network(torch.from_numpy(view.transpose(0, 3, 1, 2).copy())).numpy() for view in views]
        session = onnxruntime.InferenceSession(tmp_path / "export" / f"fold-{k}.onnx")
        np.testing.assert_allclose(session.run(["logit"], {"tiles": images})[0], logits[0], atol=1e-4)
        means.append(1 / (1 + np.exp(-np.mean(logits, axis=0))))
    session = onnxruntime.InferenceSession(tmp_path / "export" / "ensemble.onnx")
    found = session.run(["probability"], {"tiles": images})[0]
    np.testing.assert_allclose(found, np.mean(means, axis=0), atol=1e-5)
    for count in (1, 10):
        program = torch.export.load(tmp_path / "export" / "ensemble.pt2").module()
        _, probabilities = program(torch.from_numpy(images[:count].copy()))
        np.testing.assert_allclose(probabilities.numpy(), np.mean(means, axis=0)[:count], atol=1e-5)
    assert "| 1.0 to 2.5 | 40 |" in (tmp_path / "export" / "README.md").read_text()

    # The programs of docs/tutorial.md: tiles as PNG files, and their probabilities by ONNX Runtime.
    (tmp_path / "results/demo/export").mkdir(parents=True)
    (tmp_path / "results/demo/pack").symlink_to(tmp_path / "pack")
    (tmp_path / "results/demo/export/small").symlink_to(tmp_path / "export")
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"```python\n(.*?)```", (ROOT / "docs/tutorial.md").read_text(), re.S)
    assert len(programs) == 2
    for program in programs:
        exec(program, {})
    ids = Shard(tmp_path / "pack" / "test-00000.h5").ids
    expected = [f"{name} {probability:.4f}" for name, probability in sorted(zip(ids, found, strict=True))]
    assert capsys.readouterr().out.splitlines()[-10:] == expected


def test_unusable_input_is_refused_with_a_reason(tmp_path):
    write_run(tmp_path, test=10)
    with pytest.raises(InputError, match=r"fold-9/weights\.pt: no such file"):
        export(tmp_path, tmp_path / "export", [tmp_path / "train" / "tiny" / "fold-9" / "weights.pt"])
    write_shard(tmp_path / "pack" / "test-00000.h5", split="test", number=0, ids=[], labels=[], batches=[], code="test")
    with pytest.raises(InputError, match=r"test-00000\.h5: expected tiles, found none"):
        export(tmp_path, tmp_path / "export", [tmp_path / "train" / "tiny" / "fold-0" / "weights.pt"])
    assert not (tmp_path / "export").exists()
