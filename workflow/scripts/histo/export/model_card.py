"""The model card: Markdown with a YAML header, as Hugging Face reads it, from the metrics of the evaluation."""

from typing import Any

import yaml

DATA = (
    "PatchCamelyon (Veeling et al. 2018, arXiv:1806.03962), from Camelyon16 (Ehteshami Bejnordi et al., JAMA 318(22), "
    "2017): H&E-stained sections of sentinel lymph nodes of breast cancer patients, from two centres"
)
METRICS = {
    "average_precision": "Average precision", "accuracy": "Accuracy", "recall": "Recall (sensitivity)",
    "specificity": "Specificity", "precision": "Precision", "log_loss": "Log loss",
    "calibration_error": "Calibration error",
}  # fmt: skip


def model_card(description: dict[str, Any], metrics: dict[str, Any], strata: list[dict[str, Any]] | None) -> str:
    """Return the card of a model.

    description: content of model.json; metrics: of the model, from `evaluate`; strata: of the submission, from
    `ensemble.by_stratum`, None if they do not exist or are not those of this model.
    """
    name, geometry = description["model"], description["geometry"]
    # Only these data sets are known to consist of PatchCamelyon's tiles.
    real = description["source"] in ("kaggle", "pcam")
    title = f"{name}, trained on {description['dataset']}"
    parts = [
        _header(description, metrics, title),
        f"# {title}\n",
        _use(description, geometry),
        "## Data\n",
        f"{metrics['tiles']:,} training tiles of {geometry['tile_side']} × {geometry['tile_side']} pixels"
        + (f" in {metrics['groups']:,} groups of related tiles" if "groups" in metrics else "")
        + (f". {DATA}.\n" if real else f", data set `{description['dataset']}`, source `{description['source']}`.\n"),
        _figures(metrics, description["networks"]),
        _strata(strata),
        _limits(description, geometry, real),
        _files(description, geometry),
    ]
    return "\n".join(part for part in parts if part)


def _header(description: dict[str, Any], metrics: dict[str, Any], title: str) -> str:
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": description["dataset"], "type": description["dataset"]},
        "metrics": [{"type": "roc_auc", "value": round(metrics["auc"], 6), "name": "out-of-fold ROC AUC"}],
    }
    header = {
        "pipeline_tag": "image-classification",
        "library_name": "onnx",
        "tags": ["histopathology", "pathology", "onnx"],
        "metrics": ["roc_auc"],
        "model-index": [{"name": title, "results": [result]}],
    }
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n"


def _use(description: dict[str, Any], geometry: dict[str, int]) -> str:
    meaning = "\n".join(f"- {key}: {text}" for key, text in description["classes"].items())
    count = len(description["networks"])
    return (
        f"{count} networks of the kind `{description['network']['name']}`; their probabilities are averaged, over "
        f"test-time augmentation `{description['tta']}` too. Labels and logit:\n\n{meaning}\n\n"
        "## Intended use\n\nResearch on the classification of tiles of histological sections. Not a medical device; "
        "not for diagnosis.\n"
    )


def _number(found: dict[str, float | None]) -> str:
    if found["value"] is None:
        return "–"
    interval = f" ({found['low']:.4f} to {found['high']:.4f})" if found["low"] is not None else ""
    return f"{found['value']:.4f}{interval}"


def _figures(metrics: dict[str, Any], networks: list[str]) -> str:
    rows = [("ROC AUC", f"{metrics['auc']:.4f} ({metrics['auc_low']:.4f} to {metrics['auc_high']:.4f})")]
    found = metrics["probability"]
    if found:
        rows += [(label, _number(found[key])) for key, label in METRICS.items() if key in found]
    lines = "\n".join(f"| {label} | {value} |" for label, value in rows)
    folds = ", ".join(f"{row['auc']:.4f}" for row in metrics["folds"])
    related = (
        " The intervals respect that tiles of one group are correlated." if "groups" in metrics else ""
    )  # of more than two classes, tiles count as independent
    others = (
        " The networks in this folder are others, trained on all training tiles."
        if any(name.startswith("full-") for name in networks)
        else ""
    )
    return (
        "## Results\n\nOut-of-fold: each training tile is predicted by the network that was trained without its fold; "
        "related tiles are in one fold. 95 % intervals in parentheses, rates at the probability 0.5."
        f"{related}{others}\n\n| metric | value |\n|---|---|\n{lines}\n\nAUC by fold: {folds}.\n"
    )


def _strata(strata: list[dict[str, Any]] | None) -> str:
    if not strata:
        return ""
    tables = []
    for measurement in strata:
        rows = "\n".join(
            f"| {row['lowest']:.1f} to {row['highest']:.1f} | {row['tiles']:,} | {row['positives']:,} | "
            f"{_number(row['auc'])} | {_number(row['accuracy'])} |"
            for row in measurement["rows"]
        )
        head = f"| {measurement['name']} | tiles | positives | AUC | accuracy |\n|---|---|---|---|---|"
        tables.append(f"{head}\n{rows}\n")
    note = "Quintiles of what the tiles look like; tiles with equal values are in one row.\n"
    return "\n".join(["## Results by stratum\n", note, *tables])


def _limits(description: dict[str, Any], geometry: dict[str, int], real: bool) -> str:
    side, centre = geometry["tile_side"], geometry["centre_side"]
    scale = " at 0.97 µm per pixel (10×)" if real else ", at the resolution of the training tiles"
    lines = [
        f"- Tiles of {side} × {side} pixels{scale}. Other sizes and resolutions have not been tested.",
        "- Tissue, stains and scanners other than those of the training tiles may give wrong probabilities.",
    ]
    if geometry["classes"] == 2 and centre < side:
        lines.append(f"- The label concerns the central {centre} × {centre} pixels of a tile only.")
    if description["temperature"] is not None:
        lines.append(
            f"- The probabilities are not calibrated. Divide the logit by {description['temperature']:.6g}, the "
            "temperature fitted out-of-fold."
        )
    if description["stain"]:
        lines.append(
            f"- The networks expect tiles after stain normalisation (`{description['stain']}`), which these files do "
            "not contain."
        )
    return "\n".join(["## Limits\n", *lines, ""])


def _files(description: dict[str, Any], geometry: dict[str, int]) -> str:
    side, onnx = geometry["tile_side"], description["onnx"]
    return f"""## Files

| file | content |
|---|---|
| `ensemble.onnx` | all networks, with test-time augmentation |
| `{description["networks"][0]}.onnx`, … | one network each, without test-time augmentation |
| `ensemble.pt2`, … | the same as programs of PyTorch, for `torch.export.load` |
| `model.safetensors` | weights of all networks, as `<network>.<parameter>` |
| `model.json` | settings, normalisation, classes, temperature, versions |

ONNX models (opset {onnx["opset"]}) take `tiles`, uint8 [N, {side}, {side}, 3], RGB, and return `logit` and
`probability`. Their logits differ by at most {onnx["largest_difference"]:.2g} from those of PyTorch in float32.

```python
import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("ensemble.onnx")
tile = np.asarray(Image.open("tile.tif").convert("RGB"))
logit, probability = session.run(None, {{"tiles": tile[None]}})
```
"""
