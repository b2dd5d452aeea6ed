"""Weights files, which contain all that prediction needs.

A dict of plain types and tensors, readable with `torch.load(weights_only=True)`:

- format: version of the file format;
- settings: the resolved settings of the model;
- fold: the validation fold, -1 for none;
- auc, epoch: validation AUC (NaN without a validation fold) and epoch of the weights that
  `settings["checkpoint"]` names;
- classes: meaning of the labels and of the logits;
- geometry: side of the tiles and of their central square in pixels, number of classes;
- tiles: number of training and validation tiles;
- weights: {"last" | "best" | "ema": state dict}, normalisation included;
- normalisation: mean and standard deviation per channel, as lists;
- code: fingerprint of the script and its modules;
- versions: of Python, torch and numpy.
"""

import hashlib
import io
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from histo.errors import InputError, out_of_memory
from histo.files import atomic_write
from histo.geometry import COMPETITION, Geometry
from histo.networks.network import Network, build

FORMAT = 1
REQUIRED = {
    "format": int,
    "settings": dict,
    "fold": int,
    "auc": float,
    "epoch": int,
    "classes": dict,
    "geometry": dict,
    "tiles": dict,
    "weights": dict,
    "normalisation": dict,
    "code": dict,
    "versions": dict,
}


def classes(geometry: Geometry) -> dict[str, str]:
    """Meaning of the labels and of the logits."""
    if geometry.classes > 2:
        return {str(k): f"class {k}" for k in range(geometry.classes)} | {"logit": "of each class"}
    centre = f"the central {geometry.centre_side} x {geometry.centre_side} pixels"
    return {"0": f"no tumour in {centre}", "1": f"tumour in {centre}", "logit": "of class 1"}


def digest(state: dict[str, torch.Tensor]) -> str:
    """SHA-256 of the names, types, shapes and values of a state dict."""
    found = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that compute."""
    return {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": str(np.__version__)}


def _canonical(value: Any) -> Any:
    """Return `value` with equal strings as one object.

    pickle writes a repeated object as a reference, so values that were loaded from a file would otherwise give other
    bytes than equal values that were not.
    """
    if isinstance(value, dict):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return sys.intern(value) if type(value) is str else value


def dump(value: dict[str, Any], path: str | Path) -> None:
    """Save `value` atomically; equal values give equal bytes."""
    # Through a buffer, because torch stores the name of a file in the file.
    buffer = io.BytesIO()
    torch.save(_canonical(value), buffer)
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def save(
    path: str | Path,
    *,
    settings: dict[str, Any],
    fold: int | None,
    auc: float,
    epoch: int,
    tiles: dict[str, int],
    weights: dict[str, dict[str, torch.Tensor]],
    code: dict[str, str],
    geometry: Geometry = COMPETITION,
) -> None:
    """Write a weights file; the module docstring describes the arguments."""
    weights = {
        name: {key: value.detach().cpu().contiguous() for key, value in state.items()}
        for name, state in weights.items()
    }
    selected = weights[settings["checkpoint"]]
    normalisation = {key: [float(value) for value in selected[key].flatten()] for key in ("mean", "std")}
    value = {
        "format": FORMAT,
        "settings": settings,
        "fold": -1 if fold is None else fold,
        "auc": auc,
        "epoch": epoch,
        "classes": classes(geometry),
        "geometry": asdict(geometry),
        "tiles": tiles,
        "weights": weights,
        "normalisation": normalisation,
        "code": code,
        "versions": versions(),
    }
    dump(value, path)


def load(path: str | Path) -> dict[str, Any]:
    """Read a weights file. Raises InputError if it is missing, truncated or not a weights file."""
    advice = "Delete it and run the stage `train` again."
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Run the stage `train`.") from None
    except Exception as error:  # torch passes on any error of pickle or zipfile
        if out_of_memory(error):
            raise
        text = (str(error).splitlines() or [""])[0]
        raise InputError(f"{path}: not a readable weights file ({type(error).__name__}: {text}). {advice}") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else type(value).__name__
        raise InputError(f"{path}: expected a weights file of format {FORMAT}, found {found}. {advice}")
    wrong = [name for name, kind in REQUIRED.items() if not isinstance(value.get(name), kind)]
    if wrong or value["settings"].get("checkpoint") not in value["weights"]:
        raise InputError(f"{path}: a weights file without a usable {', '.join(wrong) or 'checkpoint'}. {advice}")
    return value


def load_body(network: Network, path: str | Path) -> None:
    """Load into a network the weights that predict from a weights file, without its normalisation.

    Raises InputError if the file is unusable or has the weights of another network.
    """
    checkpoint = load(path)
    state = checkpoint["weights"][checkpoint["settings"]["checkpoint"]]
    try:
        network.body.load_state_dict({key[5:]: value for key, value in state.items() if key.startswith("body.")})
    except RuntimeError as error:
        raise InputError(
            f"{path}: the weights do not fit this network ({error}). Set warm_start to a model of the same network and "
            "size of the input."
        ) from None


def load_network(checkpoint: dict[str, Any]) -> Network:
    """The network of a loaded weights file in evaluation mode, with the weights that its setting `checkpoint` names.

    Raises InputError if the weights do not fit the network.
    """
    settings = checkpoint["settings"]
    network = build(
        settings["network"],
        settings["center_crop"],
        Geometry(**checkpoint["geometry"]),
        input_size=settings["input_size"],
    )
    try:
        network.load_state_dict(checkpoint["weights"][settings["checkpoint"]])
    except RuntimeError as error:
        raise InputError(
            f"the weights do not fit the network {settings['network']}: {error}. Run the stage `train` again."
        ) from None
    return network.eval()
