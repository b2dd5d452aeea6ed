"""Classification networks of torchvision by their names there, with one logit in place of their head.

torchvision is imported when such a network is built, since that takes seconds which the other networks need not spend.
"""

import copy
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from histo.errors import InputError
from histo.hashes import file_sha256
from histo.networks.names import TORCHVISION

# Second outputs that only training on ImageNet uses: not built, and left out of a file of weights.
AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
# Keys of the DenseNet files as torch once allowed them: norm.1 is norm1 by now.
OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..+)$")
SHOWN = 4  # names in a message


def _make(name: str, crop: int, classes: int, *, pretrained: bool) -> nn.Module:
    from torchvision import models

    options: dict[str, Any] = {"num_classes": classes}
    if name in AUXILIARY:
        # Their files of weights were made with another normalisation, which the network changes to by itself.
        options |= {"aux_logits": False, "init_weights": True, "transform_input": pretrained}
    elif name.startswith("vit_"):
        options |= {"image_size": crop}
    elif name.startswith("maxvit_"):
        options |= {"input_size": (crop, crop)}
    body = models.get_model(name, weights=None, **options)
    if name.startswith("squeezenet"):
        # A ReLU follows the head, which with one class would never say less than 0.5.
        body.classifier[2] = nn.Identity()
    return body


def body(name: str, crop: int, *, weights: str = "none") -> nn.Module:
    """The network `name` of torchvision: normalised tiles, float [N, 3, crop, crop], to logits [N, 1].

    Its weights are random: `weights` (none, imagenet or a path) only says what training loads, see `load`.
    Raises InputError where the architecture cannot take tiles of that size.
    """
    try:
        made = _make(name, crop, 1, pretrained=weights != "none")
        with torch.no_grad():  # on "meta": shapes without arithmetic
            shape = tuple(copy.deepcopy(made).to("meta").eval()(torch.empty(2, 3, crop, crop, device="meta")).shape)
    except (AssertionError, RuntimeError, ValueError) as error:
        text = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"network {name} cannot be built for tiles of {crop} pixels ({text}). Set a larger center_crop, or choose another "
            "network."
        ) from None
    if shape != (2, 1):
        raise InputError(f"network {name}: expected one logit per tile, found an output of {shape} for 2 tiles.")
    return made


def head(body: nn.Module, name: str, crop: int) -> set[str]:
    """Names of the parameters of `body`, the network `name`, whose shapes depend on the number of classes."""
    one, two = body.state_dict(), _make(name, crop, 2, pretrained=False).state_dict()
    return {key for key in one if one[key].shape != two[key].shape}


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _read(path: Path, name: str) -> "OrderedDict[str, Tensor]":
    """The tensors of a file of weights, its head among them; torchvision's own names of today."""
    expected = f"expected a state dict of torchvision's {name}"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {expected}. See network.weights.") from None
    except Exception as error:  # torch raises whatever unpickling or unzipping raised
        text = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"{path}: {expected}, found something unreadable ({type(error).__name__}: {text}). Delete it and fetch it "
            "anew, or correct network.weights."
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        found = f"a mapping with {_listed(list(map(str, state)))}" if isinstance(state, dict) else type(state).__name__
        raise InputError(f"{path}: {expected}, a mapping of names to tensors, found {found}. Correct network.weights.")
    made = OrderedDict((OLD_DENSENET.sub(r"\1\2", key), value) for key, value in state.items())
    # Versions of the layers, by which they know older forms of themselves.
    if hasattr(state, "_metadata"):
        made._metadata = copy.deepcopy(state._metadata)
    return made


def _prove(path: Path) -> None:
    found = file_sha256(path) if path.is_file() else None
    digits = path.stem.rpartition("-")[2]
    if found and not found.startswith(digits):
        raise InputError(
            f"{path}: expected torchvision's file of this name, whose SHA-256 begins with {digits}, found one with "
            f"{found}. Delete it to have it fetched, or name the path of your own file in network.weights."
        )


def load(network: nn.Module, settings: dict[str, Any], crop: int, path: str | Path) -> None:
    """Put the weights of a file, all but those of its head, into a network's `body`, which `body` made.

    settings: the block `network`; the file: a state dict as torchvision publishes them, with a head of any number of
    classes. Position embeddings of vision transformers are interpolated to the tile's size (Dosovitskiy et al. 2021,
    arXiv:2010.11929). Raises InputError unless every other tensor is there, has its shape, and none is left over, and,
    with `weights: imagenet`, unless the file has the SHA-256 that its name begins: it may have been put there by hand.
    """
    name, path = settings["name"], Path(path)
    if name not in TORCHVISION:
        raise InputError(f"network {name}: weights are only read for networks of torchvision. Remove network.weights.")
    if settings.get("weights") == "imagenet":
        _prove(path)
    found = _read(path, name)
    own, apart = network.body.state_dict(), head(network.body, name, crop)
    if name.startswith("vit_") and "encoder.pos_embedding" in found:
        from torchvision.models.vision_transformer import interpolate_embeddings

        found = interpolate_embeddings(crop, network.body.patch_size, found)
    aside = AUXILIARY.get(name, ())
    for key in list(found):
        if key in apart or key.startswith(aside or "\0"):
            del found[key]
    # Files older than torch 0.4.1 do not count batches; batch normalisation fills that in.
    missing = [key for key in own if key not in found and key not in apart and not key.endswith("num_batches_tracked")]
    strange = [key for key in found if key not in own]
    other = [
        f"{key} {list(found[key].shape)} instead of {list(own[key].shape)}"
        for key in found if key in own and found[key].shape != own[key].shape
    ]  # fmt: skip
    faults = [
        f"{what}: {_listed(names)}"
        for what, names in (("missing", missing), ("left over", strange), ("of another shape", other))
        if names
    ]
    if faults:
        raise InputError(
            f"{path}: expected the weights of torchvision's {name}, all but the head, found others ({'; '.join(faults)}"
            "). Correct network.name or network.weights."
        )
    for key in apart:
        found[key] = own[key]
    try:
        network.body.load_state_dict(found)
    except RuntimeError as error:
        raise InputError(f"{path}: does not fit torchvision's {name} ({error}).") from None
