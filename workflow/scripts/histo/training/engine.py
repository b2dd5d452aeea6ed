"""Precision, learning rate schedule, loss, optimizer, the training step, and inference."""

import copy
import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from histo.config.train import TrainSettings
from histo.errors import InputError
from histo.networks.dihedral import dihedral
from histo.networks.network import Network, head_parameters
from histo.training.loader import TileLoader, file_order
from histo.training.own_optimizer import own_optimizer
from histo.training.processes import Processes
from histo.training.whole_batch import WholeBatch
from histo.user_functions import failure, load_function

PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
VIEWS = {"none": (0,), "flips": (0, 1, 2, 3), "all": tuple(range(8))}
INFERENCE_BATCH = 256  # tiles


def precision(choice: str, device: torch.device, network: nn.Module) -> torch.dtype:
    """Data type of the network's arithmetic.

    `auto`: bfloat16 where the hardware supports it natively, because torch's emulation is slower than float32; else
    float16 on a GPU (compute capability below 8.0) and float32 on a CPU; float32 on Apple's MPS. On a CPU a
    network of torchvision with grouped convolutions computes in float32, since their gradients take longer in bfloat16;
    EfficientNet-Lite chooses for each convolution. Raises InputError for float16 without CUDA.
    """
    if choice != "auto":
        if choice == "float16" and device.type != "cuda":
            raise InputError(
                "precision: float16 needs a GPU with CUDA, but none was found. Set auto, bfloat16 or float32."
            )
        return PRECISIONS[choice]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    if device.type == "mps":
        return torch.float32
    if any(type(module) is nn.Conv2d and module.groups > 1 for module in network.modules()):
        return torch.float32
    native = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return torch.bfloat16 if any(supported is not None and supported() for supported in native) else torch.float32


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """Learning rate of step `step` (0 … steps - 1).

    one_cycle (Smith & Topin 2017, arXiv:1708.07120): half a cosine from peak/25 up to the peak during the first
    `warmup` share of the steps, half a cosine down to peak/10⁴ in the others. cosine (Loshchilov & Hutter 2017,
    arXiv:1608.03983): linear warmup from 0, half a cosine down to 0. constant: the peak throughout.
    """
    peak, warmup = settings.learning_rate, settings.warmup * steps
    if settings.schedule == "constant":
        return peak
    start, end = (peak / 25, peak / 1e4) if settings.schedule == "one_cycle" else (0.0, 0.0)
    if step < warmup:
        share = (step + 1) / (warmup + 1)
        if settings.schedule == "one_cycle":
            share = (1 - math.cos(math.pi * share)) / 2
        return start + (peak - start) * share
    share = (step - warmup) / max(1.0, steps - warmup)
    return end + (peak - end) * (1 + math.cos(math.pi * share)) / 2


def targets(labels: Tensor, classes: int) -> Tensor:
    """Labels in the form that `loss` and mixup need: float [N] of two classes, else one-hot, float32 [N, classes]."""
    return labels if classes == 2 else functional.one_hot(labels.long(), classes).float()


def loss(logits: Tensor, labels: Tensor, settings: TrainSettings) -> Tensor:
    """Mean binary cross-entropy of logits [N] and labels [N] in 0..1 (mixup gives labels in between).

    Mean cross-entropy of logits [N, K] of K > 2 classes and shares of the classes, [N, K] (see `targets`).

    With `pos_weight` on label 1, `label_smoothing` (Szegedy et al. 2016, arXiv:1512.00567) and `focal_gamma` (Lin et
    al. 2017, arXiv:1708.02002), which gives well classified tiles less weight. Raises ValueError for a `pos_weight` of
    None, which stands for the counts of a fold. With `settings.loss`, what that function of the user's returns.
    """
    if settings.loss is not None:
        return own_loss(settings.loss, logits, labels)
    if settings.pos_weight is None:
        raise ValueError("pos_weight: expected a number, found None. Set it from the counts of the labels.")
    if logits.ndim == 2:
        shares = labels * (1 - settings.label_smoothing) + settings.label_smoothing / logits.shape[1]
        log_p = functional.log_softmax(logits, dim=1)
        if settings.focal_gamma:
            shares = shares * (1 - log_p.exp()) ** settings.focal_gamma
        return -(shares * log_p).sum(1).mean()
    smooth = labels * (1 - settings.label_smoothing) + settings.label_smoothing / 2
    weight = torch.full((), settings.pos_weight, device=logits.device)
    losses = functional.binary_cross_entropy_with_logits(logits, smooth, pos_weight=weight, reduction="none")
    if settings.focal_gamma:
        p = torch.sigmoid(logits)
        losses = losses * (smooth * (1 - p) + (1 - smooth) * p) ** settings.focal_gamma
    return losses.mean()


def own_loss(reference: str, logits: Tensor, labels: Tensor) -> Tensor:
    """Call the loss of a file of the user's with float32 logits and labels of the same shape.

    Raises InputError if the file or the function fails or if it does not return a scalar.
    """
    function = _load_loss(reference)
    try:
        value = function(logits.float(), labels)
    except Exception as error:  # whatever the user's code raises
        raise failure(reference, "loss", error) from error
    if not isinstance(value, Tensor) or value.ndim:
        found = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"loss {reference}: expected the mean over the tiles, a scalar tensor, found {found}.")
    return value


@cache
def _load_loss(reference: str) -> Callable[..., Any]:
    return load_function(reference, "loss")


def compiled(network: nn.Module, settings: TrainSettings, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The network as `compile` and `cuda_graphs` ask; a compiled module shares its parameters with the original one.

    CUDA graphs need tensors of fixed shape and address: all batches have one size, parameters and buffers are updated
    in place, and tiles are copied to a fixed address by the graph itself.
    """
    if settings.cuda_graphs and device.type == "cuda":
        return torch.compile(network, mode="reduce-overhead", dynamic=False)
    return torch.compile(network) if settings.compile else network


def optimizer(network: Network, settings: TrainSettings) -> torch.optim.Optimizer:
    """The optimizer of `settings.optimizer`: adamw, adam, or one that a function of the user's returns.

    adamw: decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101) of matrices and kernels, not of biases
    and scales. adam: weight decay as part of the gradient, of all parameters (Kingma & Ba 2015, arXiv:1412.6980). Fused
    kernels except on Apple's MPS.
    """
    groups = parameter_groups(network, settings)
    if settings.optimizer not in ("adamw", "adam"):
        return own_optimizer(settings.optimizer, groups, settings)
    fused = all(parameter.device.type != "mps" for group in groups for parameter in group["params"])
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=settings.learning_rate, fused=fused)


def parameter_groups(network: Network, settings: TrainSettings) -> list[dict[str, Any]]:
    """Groups of the trainable parameters, each with `weight_decay` and `factor`, which multiplies the learning rate."""
    trainable = {name: value for name, value in network.named_parameters() if value.requires_grad}
    parts = [(list(trainable.values()), 1.0)]
    if settings.pretrained_learning_rate is not None:
        head = head_parameters(network, settings.network.model_dump())
        parts = [
            ([value for name, value in trainable.items() if name in head], 1.0),
            (
                [value for name, value in trainable.items() if name not in head],
                settings.pretrained_learning_rate / settings.learning_rate,
            ),
        ]
    groups: list[dict[str, Any]] = []
    for parameters, factor in parts:
        if settings.optimizer == "adam":
            groups.append({"params": parameters, "weight_decay": settings.weight_decay, "factor": factor})
        else:
            kernels, others = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
            groups.append({"params": kernels, "weight_decay": settings.weight_decay, "factor": factor})
            groups.append({"params": others, "weight_decay": 0.0, "factor": factor})
    return groups


class Averaged:
    """The tensors of the state dicts of a network and of its average, listed once for all steps."""

    def __init__(self, average: nn.Module, network: nn.Module) -> None:
        pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
        floating = [(mean, current) for mean, current in pairs if mean.is_floating_point()]
        self._means, self._currents = [mean for mean, _ in floating], [current for _, current in floating]
        self._copied = [(mean, current) for mean, current in pairs if not mean.is_floating_point()]

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Update the exponential moving average of weights and buffers; counters are copied."""
        torch._foreach_lerp_(self._means, self._currents, 1 - decay)
        for mean, current in self._copied:
            mean.copy_(current)


class Engine:
    """A network and the state of its training.

    Attributes: network (trained in place), ema (network of the averaged weights, or None), step (number of steps done),
    steps (of the run), dtype (of the arithmetic), optimizer, scaler (of the loss, for float16).
    """

    def __init__(
        self,
        network: Network,
        settings: TrainSettings,
        device: torch.device,
        steps: int,
        processes: Processes | None = None,
        batch_size: int = 0,
    ) -> None:
        """steps: of the complete run, for the learning rate schedule; processes: connected, None for one; batch_size:
        of all processes together, needed for several.

        Raises InputError for a compiled network with several processes.
        """
        self.network = network.to(device)
        self.settings, self.device, self.steps, self.step = settings, device, steps, 0
        self.processes, self._batch_size = processes or Processes(), batch_size
        self.dtype = precision(settings.precision, device, network)
        self._forward = compiled(network, settings, device)
        if self.processes.count > 1:
            if self._forward is not network:
                raise InputError(
                    "compile, cuda_graphs: not supported by several GPUs per training. Set both to false, or the "
                    "resource gpu of the rule train to 1."
                )
            self._forward = DistributedDataParallel(network, broadcast_buffers=False)
        self.optimizer = optimizer(network, settings)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.ema = copy.deepcopy(network).requires_grad_(False) if settings.ema else None
        self._averaged = Averaged(self.ema, network) if self.ema is not None else None

    @property
    def eval_network(self) -> Network:
        """The network to validate: `ema` with `checkpoint: ema`, otherwise the trained network."""
        return self.ema if self.settings.checkpoint == "ema" and self.ema is not None else self.network

    def train_step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Train on one batch of tiles [N, 3, S, S] and labels [N]; return the loss, a float32 scalar on the device.

        With several processes: on this process's slice of the batch; the mean of what they return is the loss.
        """
        # Seeds dropout with the step number, so that a resumed run draws the same random numbers.
        torch.manual_seed((self.settings.seed << 32) + self.step)
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.steps, self.settings) * group["factor"]
        # Before the forward pass: CUDA graphs write to the memory of these gradients again.
        self.optimizer.zero_grad(set_to_none=True)
        divided = self.processes.count > 1
        context = WholeBatch(self.processes, self._batch_size) if divided else nullcontext()
        with context, torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = self._forward(images)
        value = loss(logits, labels, self.settings)
        if divided:  # slices may differ by one tile
            value = value * (len(labels) * self.processes.count / self._batch_size)
        self.scaler.scale(value).backward()  # type: ignore[no-untyped-call]
        if self.settings.gradient_clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        if self._averaged is not None:
            # The decay grows with the number of steps, so that the random initial weights are soon forgotten.
            self._averaged.update(min(self.settings.ema, (1 + self.step) / (10 + self.step)))
        return value.detach()

    def logits(self, tiles: TileLoader) -> np.ndarray:
        """Logits of all tiles in their order by `eval_network`, float32 [N]; of more than two classes, [N, classes].

        The processes share the batches.
        """
        order = file_order(len(tiles), INFERENCE_BATCH)
        own = order[self.processes.rank :: self.processes.count]
        return self.processes.joined(predict_logits(self.eval_network, tiles, self.dtype, order=own)[:, 0], order)

    def state_dict(self) -> dict[str, Any]:
        """State that the next steps depend on, for `load_state_dict`."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict() if self.ema is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # empty if the run started in a precision that needs no loss scaling
            self.scaler.load_state_dict(state["scaler"])


@torch.inference_mode()
def predict_logits(
    network: Network,
    tiles: TileLoader,
    dtype: torch.dtype,
    tta: str = "none",
    order: list[np.ndarray] | None = None,
) -> np.ndarray:
    """Logits of all tiles in their order, float32 [N, views], one column for each view of test-time augmentation.

    Of more than two classes: [N, views, classes].

    tta: `none` (1 view), `flips` (4: unchanged, mirrored left-right, top-bottom, both) or `all` (8 flips and 90°
    rotations, the dihedral group D4; the first 4 are those of `flips`); an invariant network computes one view, which
    stands for all. order: batches of positions, by default all.
    """
    network.eval()
    computed = VIEWS["none" if network.invariant else tta]
    batches = []
    for images, _, _ in tiles.batches(file_order(len(tiles), INFERENCE_BATCH) if order is None else order):
        images, columns = images.to(tiles.device), []
        for view in computed:
            batch = dihedral(images, view).permute(0, 3, 1, 2)
            with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
                columns.append(network(batch).float())
        batches.append(torch.stack(columns * (len(VIEWS[tta]) // len(computed)), dim=1))
    if batches:
        return torch.cat(batches).cpu().numpy()
    classes = tiles.geometry.classes
    return np.empty((0, len(VIEWS[tta]), *([classes] if classes > 2 else [])), dtype=np.float32)
