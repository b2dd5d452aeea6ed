"""The training engine: precision, schedule, loss, one step, and the logits of many tiles."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from histo.errors import InputError
from histo.networks.dihedral import dihedral
from histo.networks.network import Network
from histo.training.loader import TileLoader, file_order

PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
VIEWS = {"none": (0,), "flips": (0, 1, 2, 3), "all": tuple(range(8))}
INFERENCE_BATCH = 256


def precision(choice: str, device: torch.device) -> torch.dtype:
    """Type of the network's arithmetic: the chosen one, or for `auto` bfloat16 where the hardware computes in it,
    float16 on GPUs before that (capability below 8.0), float32 on other processors.

    Emulated bfloat16, which torch also offers, is slower than float32. Raises InputError for float16 on the CPU.
    """
    if choice != "auto":
        if choice == "float16" and device.type == "cpu":
            raise InputError("precision: float16 needs a GPU, none was found. Set auto, bfloat16 or float32.")
        return PRECISIONS[choice]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    native = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return torch.bfloat16 if any(check is not None and check() for check in native) else torch.float32


def learning_rate(step: int, steps: int, settings: dict[str, Any]) -> float:
    """Learning rate of step `step` (0 … steps - 1).

    one_cycle (Smith & Topin 2017, arXiv:1708.07120): half a cosine from peak/25 up to the peak during the first
    `warmup` share of the steps, half a cosine down to peak/10⁴ in the others. cosine (Loshchilov & Hutter 2017,
    arXiv:1608.03983): a straight line up from 0, half a cosine down to 0. constant: the peak throughout.
    """
    peak, rise = settings["learning_rate"], settings["warmup"] * steps
    if settings["schedule"] == "constant":
        return peak
    start, end = (peak / 25, peak / 1e4) if settings["schedule"] == "one_cycle" else (0.0, 0.0)
    if step < rise:
        share = (step + 1) / (rise + 1)
        if settings["schedule"] == "one_cycle":
            share = (1 - math.cos(math.pi * share)) / 2
        return start + (peak - start) * share
    share = (step - rise) / max(1.0, steps - rise)
    return end + (peak - end) * (1 + math.cos(math.pi * share)) / 2


def loss(logits: Tensor, labels: Tensor, settings: dict[str, Any]) -> Tensor:
    """Mean binary cross-entropy of logits [N] and labels [N] in 0..1 (mixed labels lie between).

    With `pos_weight` on label 1, `label_smoothing` (Szegedy et al. 2016) and `focal_gamma` (Lin et al. 2017,
    arXiv:1708.02002: tiles that are already right count less).
    """
    smoothing, gamma = settings["label_smoothing"], settings["focal_gamma"]
    targets = labels * (1 - smoothing) + smoothing / 2
    weight = torch.full((), settings["pos_weight"], device=logits.device)
    each = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight, reduction="none")
    if gamma:
        p = torch.sigmoid(logits)
        each = each * (targets * (1 - p) + (1 - targets) * p) ** gamma
    return each.mean()


def optimizer(network: nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer:
    """adamw: decay apart from the gradient (Loshchilov & Hutter 2019, arXiv:1711.05101), see parameter_groups; adam:
    decay as part of the gradient, of all parameters (Kingma & Ba 2015, arXiv:1412.6980)."""
    rate, decay = settings["learning_rate"], settings["weight_decay"]
    if settings["optimizer"] == "adam":
        used = [parameter for parameter in network.parameters() if parameter.requires_grad]
        return torch.optim.Adam(used, lr=rate, weight_decay=decay, fused=True)
    return torch.optim.AdamW(parameter_groups(network, decay), lr=rate, fused=True)


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices and kernels, none on biases and scales."""
    used = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in used if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in used if p.ndim <= 1], "weight_decay": 0.0},
    ]


class Engine:
    """A network with all that changes while it trains.

    Attributes: network (trained in place), ema (its running mean or None), step (steps done so far).
    """

    def __init__(self, network: Network, settings: dict[str, Any], device: torch.device, steps: int) -> None:
        """steps: of the whole run, for the schedule."""
        self.network = network.to(device)
        self.settings, self.device, self.steps, self.step = settings, device, steps, 0
        self.dtype = precision(settings["precision"], device)
        # A compiled module shares its parameters with the one it was made of.
        self._forward: Callable[[Tensor], Tensor] = torch.compile(network) if settings["compile"] else network
        self.optimizer = optimizer(network, settings)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.ema = copy.deepcopy(network).requires_grad_(False) if settings["ema"] else None

    def train_step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One step on one batch; returns its loss, a float32 scalar on the device."""
        # Dropout draws from here, so that a step after a restart draws what it would have drawn.
        torch.manual_seed((self.settings["seed"] << 32) + self.step)
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.steps, self.settings)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = self._forward(images)
        value = loss(logits, labels, self.settings)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(value).backward()
        if self.settings["gradient_clip"]:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings["gradient_clip"])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        if self.ema is not None:
            self._average(self.ema)
        return value.detach()

    @torch.no_grad()
    def _average(self, ema: Network) -> None:
        """Exponential moving average of weights and buffers; short at first, so that the start does not linger."""
        share = 1 - min(self.settings["ema"], (1 + self.step) / (10 + self.step))
        mean, now = list(ema.state_dict().values()), list(self.network.state_dict().values())
        for old, new in zip(mean, now, strict=True):
            if old.is_floating_point():
                old.lerp_(new, share)
            else:
                old.copy_(new)

    def logits(self, tiles: TileLoader, network: Network | None = None) -> np.ndarray:
        """Logits of all tiles in their order by the network as it is, or by `network`; float32 [N]."""
        return predict_logits(network or self.network, tiles, self.dtype)[:, 0]

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict() if self.ema is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # empty when the run began in a precision that needs no scaling
            self.scaler.load_state_dict(state["scaler"])


@torch.inference_mode()
def predict_logits(network: Network, tiles: TileLoader, dtype: torch.dtype, tta: str = "none") -> np.ndarray:
    """Logits of all tiles in their order, float32 [N, views], one column for each view of test-time augmentation:
    `none` 1, `flips` 4 (as it is, mirrored left-right, top-bottom, both), `all` 8 flips and quarter turns, of which the
    first 4 are the flips and the first is the tile as it is."""
    network.eval()
    found = []
    for images, _, _ in tiles.batches(file_order(len(tiles), INFERENCE_BATCH)):
        columns = []
        for view in VIEWS[tta]:
            batch = dihedral(images, view).permute(0, 3, 1, 2)
            with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
                columns.append(network(batch).float())
        found.append(torch.stack(columns, dim=1))
    return torch.cat(found).cpu().numpy() if found else np.empty((0, len(VIEWS[tta])), dtype=np.float32)
