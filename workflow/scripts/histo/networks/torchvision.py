"""Classification networks of torchvision with our logits in place of their head, and their pretrained weights.

torchvision is imported when such a network is built: the import takes seconds, and other networks do not need it.
"""

import copy
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from histo.errors import InputError
from histo.geometry import COMPETITION, Geometry
from histo.hashes import file_sha256
from histo.networks.names import TORCHVISION

# Prefixes of the auxiliary classifiers, which only ImageNet training uses: they are neither built nor loaded.
AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
# Keys of DenseNet state dicts as old versions of torch wrote them: norm.1 is now norm1.
OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..+)$")
LISTED = 4  # names per list in an error message


def _build(name: str, crop: int, classes: int, *, pretrained: bool) -> nn.Module:
    from torchvision import models

    options: dict[str, Any] = {"num_classes": classes}
    if name in AUXILIARY:
        # Their pretrained weights were trained with another normalisation; transform_input converts to it.
        options |= {"aux_logits": False, "init_weights": True, "transform_input": pretrained}
    elif name.startswith("vit_"):
        options |= {"image_size": crop}
    elif name.startswith("maxvit_"):
        options |= {"input_size": (crop, crop)}
    body: nn.Module = models.get_model(name, weights=None, **options)
    if name.startswith("squeezenet"):
        # The head ends with a ReLU, with which a logit could not be negative.
        cast(nn.Sequential, body.classifier)[2] = nn.Identity()
    return body


def build_body(name: str, crop: int, geometry: Geometry = COMPETITION, *, weights: str = "none") -> nn.Module:
    """Build the network `name` of torchvision: normalised tiles, float [N, 3, crop, crop], to logits [N, outputs].

    The weights are random. weights: the setting `network.weights` (none, imagenet or a path); `load_weights` loads
    them. Raises InputError where the architecture does not support tiles of that size.
    """
    try:
        body = _build(name, crop, geometry.outputs, pretrained=weights != "none")
        with torch.no_grad():  # the device "meta" computes shapes only
            shape = tuple(copy.deepcopy(body).to("meta").eval()(torch.empty(2, 3, crop, crop, device="meta")).shape)
    except (AssertionError, RuntimeError, ValueError) as error:
        text = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"network {name} cannot be built for tiles of {crop} pixels ({text}). Set a larger center_crop, or choose "
            "another network."
        ) from None
    if shape != (2, geometry.outputs):
        raise InputError(
            f"network {name}: expected an output of shape (2, {geometry.outputs}) for 2 tiles, found {shape}. Choose "
            "another network."
        )
    return body


def head_parameters(body: nn.Module, name: str, crop: int) -> set[str]:
    """Names of the parameters of `body`, the network `name`, whose shapes depend on the number of classes."""
    # No network of this project has two outputs: two classes have one logit.
    own, two = body.state_dict(), _build(name, crop, 2, pretrained=False).state_dict()
    return {key for key in own if own[key].shape != two[key].shape}


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _read(path: Path, name: str) -> "OrderedDict[str, Tensor]":
    """Read the state dict in a file, with the keys that current torchvision uses."""
    expected = f"expected a state dict of torchvision's {name}"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: {expected}, found no such file. Correct network.weights.") from None
    except Exception as error:  # torch.load passes on any exception of pickle and zipfile
        text = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"{path}: {expected}, found a file that cannot be read ({type(error).__name__}: {text}). Delete it and "
            "fetch it again, or correct network.weights."
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        found = f"a mapping with {_listed(list(map(str, state)))}" if isinstance(state, dict) else type(state).__name__
        raise InputError(f"{path}: {expected}, a mapping of names to tensors, found {found}. Correct network.weights.")
    renamed = OrderedDict((OLD_DENSENET.sub(r"\1\2", key), value) for key, value in state.items())
    # Versions of the layers: load_state_dict converts state dicts of older versions by them.
    if hasattr(state, "_metadata"):
        renamed._metadata = copy.deepcopy(state._metadata)  # type: ignore[attr-defined]
    return renamed


def _verify_sha256(path: Path) -> None:
    """Raise InputError where a file's SHA-256 does not begin with the digits in its name."""
    found = file_sha256(path) if path.is_file() else None
    digits = path.stem.rpartition("-")[2]
    if found and not found.startswith(digits):
        raise InputError(
            f"{path}: expected torchvision's file of this name, whose SHA-256 begins with {digits}, found the SHA-256 "
            f"{found}. Delete the file to download it again, or set network.weights to the path of your own file."
        )


def load_weights(body: nn.Module, settings: dict[str, Any], crop: int, path: str | Path) -> None:
    """Load the weights in a file, except those of its head, into a body that `build_body` built.

    settings: the block `network` of a model. path: a state dict as torchvision publishes it, with a head of any number
    of classes. Position embeddings of vision transformers are interpolated to the tile's size (Dosovitskiy et al. 2021,
    arXiv:2010.11929). Raises InputError for a network that is not torchvision's, for an unreadable file, and unless the
    file's names and shapes, those of the head aside, are the body's. With `weights: imagenet` it also raises InputError
    unless the file's SHA-256 begins with the digits in its name, since users may put that file in place by hand.
    """
    name, path = settings["name"], Path(path)
    if name not in TORCHVISION:
        raise InputError(
            f"network.weights: weights can be loaded into a network of torchvision only, found {name}. Remove the "
            "setting."
        )
    if settings.get("weights") == "imagenet":
        _verify_sha256(path)
    found = _read(path, name)
    own, head = body.state_dict(), head_parameters(body, name, crop)
    if name.startswith("vit_") and "encoder.pos_embedding" in found:
        from torchvision.models.vision_transformer import interpolate_embeddings

        found = interpolate_embeddings(crop, body.patch_size, found)
    auxiliary = AUXILIARY.get(name, ())
    for key in list(found):
        if key in head or key.startswith(auxiliary):
            del found[key]
    # Files older than torch 0.4.1 have no num_batches_tracked; load_state_dict fills it in.
    missing = [key for key in own if key not in found and key not in head and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in found if key not in own]
    shapes = [
        f"{key} {list(found[key].shape)} instead of {list(own[key].shape)}"
        for key in found if key in own and found[key].shape != own[key].shape
    ]  # fmt: skip
    faults = [
        f"{what}: {_listed(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("wrong shape", shapes))
        if names
    ]
    if faults:
        raise InputError(
            f"{path}: expected the weights of torchvision's {name} (a different head is allowed), found other names or "
            f"shapes ({'; '.join(faults)}). Correct network.name or network.weights."
        )
    for key in head:
        found[key] = own[key]
    try:
        body.load_state_dict(found)
    except RuntimeError as error:
        raise InputError(
            f"{path}: these weights do not fit torchvision's {name} ({error}). Correct network.name or network.weights."
        ) from None
