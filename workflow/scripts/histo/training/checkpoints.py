"""Weights files: enough to predict from the file alone.

A dict of plain types and tensors, which `torch.load(weights_only=True)` reads:

- format: version of this form;
- settings: of the model, resolved; fold; auc: validation AUC of the weights that `settings["checkpoint"]` names; epoch: after
  which they were taken; classes: meaning of the logit; tiles: number trained and validated on;
- weights: {"last" | "best" | "ema": state dict}, normalisation included; normalisation: the same in words;
- code: fingerprint of the script and its modules; versions: of the libraries.
"""

import io
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from histo.errors import InputError
from histo.files import atomic_write
from histo.networks.network import Network, build

FORMAT = 1
CLASSES = {
    "0": "no tumour in the central 32 x 32 pixels",
    "1": "tumour in the central 32 x 32 pixels",
    "logit": "of class 1",
}
REQUIRED = {
    "format": int,
    "settings": dict,
    "fold": int,
    "auc": float,
    "epoch": int,
    "classes": dict,
    "tiles": dict,
    "weights": dict,
    "normalisation": dict,
    "code": dict,
    "versions": dict,
}


def versions() -> dict[str, str]:
    """Versions of what computes."""
    return {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": str(np.__version__)}


def _canonical(value: Any) -> Any:
    """The same value with equal strings as one object: pickle writes a second mention of an object as a reference, so
    that what was once loaded from a file would else give other bytes than what was not."""
    if isinstance(value, dict):
        return {_canonical(key): _canonical(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_canonical(part) for part in value]
    return sys.intern(value) if type(value) is str else value


def dump(value: dict[str, Any], path: str | Path) -> None:
    """torch.save, whole or not at all; equal values give equal bytes."""
    # Into a buffer, since torch writes a file's name into it.
    buffer = io.BytesIO()
    torch.save(_canonical(value), buffer)
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def save(
    path: str | Path,
    *,
    settings: dict[str, Any],
    fold: int,
    auc: float,
    epoch: int,
    tiles: dict[str, int],
    weights: dict[str, dict[str, torch.Tensor]],
    code: dict[str, str],
) -> None:
    """Write a weights file; for the arguments see the module's text."""
    weights = {
        name: {key: value.detach().cpu().contiguous() for key, value in state.items()}
        for name, state in weights.items()
    }
    kept = weights[settings["checkpoint"]]
    normalisation = {key: [float(value) for value in kept[key].flatten()] for key in ("mean", "std")}
    value = {
        "format": FORMAT,
        "settings": settings,
        "fold": fold,
        "auc": auc,
        "epoch": epoch,
        "classes": CLASSES,
        "tiles": tiles,
        "weights": weights,
        "normalisation": normalisation,
        "code": code,
        "versions": versions(),
    }
    dump(value, path)


def load(path: str | Path) -> dict[str, Any]:
    """Read a weights file; InputError when it is missing, cut short or something else."""
    advice = "Delete it and run the stage `train` again."
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Run the stage `train`.") from None
    except Exception as error:  # torch raises whatever unpickling or unzipping raised
        text = (str(error).splitlines() or [""])[0]
        raise InputError(f"{path}: not a readable weights file ({type(error).__name__}: {text}). {advice}") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else type(value).__name__
        raise InputError(f"{path}: expected a weights file of format {FORMAT}, found {found}. {advice}")
    wrong = [name for name, kind in REQUIRED.items() if not isinstance(value.get(name), kind)]
    if wrong or value["settings"].get("checkpoint") not in value["weights"]:
        raise InputError(f"{path}: a weights file without a usable {', '.join(wrong) or 'state to keep'}. {advice}")
    return value


def network(checkpoint: dict[str, Any]) -> Network:
    """The network of a loaded weights file with the weights that its settings keep, ready to predict."""
    settings = checkpoint["settings"]
    made = build(settings["network"], settings["center_crop"])
    try:
        made.load_state_dict(checkpoint["weights"][settings["checkpoint"]])
    except RuntimeError as error:
        raise InputError(f"weights do not fit the network {settings['network']}: {error}") from None
    return made.eval()
