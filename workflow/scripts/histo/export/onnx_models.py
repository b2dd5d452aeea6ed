"""Networks as ONNX models and programs of torch.export that take tiles as they are decoded; ONNX Runtime checks them.

A model has one input, `tiles`, uint8 [N, side, side, 3], RGB, and computes what the workflow computes in float32: crop,
normalisation, resizing, test-time augmentation and the means over views and networks are inside.
"""

import io
import logging
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional

from histo.errors import InputError
from histo.files import atomic_write
from histo.networks.dihedral import dihedral
from histo.networks.network import Network
from histo.training.engine import VIEWS

OPSET = 18
TOLERANCE = 1e-4  # largest difference between the logits of ONNX Runtime and of PyTorch
EXAMPLE = 2  # tiles with which a model is traced; their number stays variable


def log_mean(logits: Tensor) -> Tensor:
    """Logit of the mean over dimension 1 of probabilities, [N, n] → [N]; exact also for probabilities close to 0 or 1.

    Of more than two classes: the logarithm of the mean probabilities, [N, n, classes] → [N, classes].
    """
    if logits.ndim == 3:
        return torch.logsumexp(functional.log_softmax(logits, 2), 1) - float(np.log(logits.shape[1]))
    return torch.logsumexp(_log_sigmoid(logits), 1) - torch.logsumexp(_log_sigmoid(-logits), 1)


def _log_sigmoid(logits: Tensor) -> Tensor:
    """The logarithm of the sigmoid; that of PyTorch becomes log(sigmoid(x)) in ONNX, which rounds small values off."""
    return torch.clamp(logits, max=0) - torch.log1p(torch.exp(-logits.abs()))


class Ensemble(nn.Module):
    """One or several networks with test-time augmentation.

    Input: uint8 [N, side, side, 3]. Output: logit and probability of label 1, float32 [N]; of more than two classes,
    of each class, [N, classes].
    """

    def __init__(self, networks: list[Network], tta: str, average: str) -> None:
        """tta, average: the settings of `predict`."""
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self._views, self._average = VIEWS[tta], average

    def forward(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        # All views in one batch, so that each network is in the graph once.
        batch = torch.cat([dihedral(tiles, view) for view in self._views]).permute(0, 3, 1, 2)
        found = []
        for network in self.networks:
            views = network(batch).unflatten(0, (len(self._views), -1)).transpose(0, 1)
            found.append(views.mean(1) if self._average == "logits" else log_mean(views))
        logits = log_mean(torch.stack(found, 1)) if len(found) > 1 else found[0]
        return logits, torch.softmax(logits, 1) if logits.ndim == 2 else torch.sigmoid(logits)


def export(model: Ensemble, side: int) -> ExportedProgram:
    """Return a model for any number of tiles of `side` pixels as a program of torch.export."""
    model = model.eval().requires_grad_(False)
    example = torch.zeros((EXAMPLE, side, side, 3), dtype=torch.uint8)
    # Strict: traced from bytecode, so that `len` of a tensor stays variable.
    with warnings.catch_warnings():
        # Equivariant layers keep their kernels between calls, of which torch warns; the program has its own.
        warnings.filterwarnings("ignore", "While compiling, we found certain side effects")
        return torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim("N")},), strict=True)


def write_program(program: ExportedProgram, path: Path) -> None:
    """Write a program as the file (.pt2) that `torch.export.load` reads."""
    buffer = io.BytesIO()  # torch warns of other endings, and temporary files have one
    with warnings.catch_warnings():
        # Parts of one tensor are stored as that tensor, of which torch warns.
        warnings.filterwarnings("ignore", "No complete tensor found in the group")
        torch.export.save(program, buffer)
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def write_onnx(program: ExportedProgram, path: Path) -> None:
    """Write a program as one ONNX file, with the operators of version `OPSET`."""
    for library in ("onnx_ir", "onnxscript"):  # which log each step of their optimizer
        logging.getLogger(library).setLevel(logging.WARNING)
    with atomic_write(path) as temporary:
        torch.onnx.export(
            program,
            (),
            temporary,
            input_names=["tiles"],
            output_names=["logit", "probability"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def largest_difference(model: Ensemble, path: Path, tiles: npt.NDArray[np.uint8]) -> float:
    """Return the largest difference between the logits of an ONNX file and of PyTorch; tiles: uint8 [N, side, side, 3].

    Raises InputError if it exceeds `TOLERANCE`.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits = session.run(["logit"], {"tiles": tiles})[0]
    with torch.inference_mode():
        expected = model.eval()(torch.from_numpy(tiles.copy()))[0].numpy()
    difference = float(np.abs(logits - expected).max())
    if not difference <= TOLERANCE:
        raise InputError(
            f"{path}: expected the logits of PyTorch up to {TOLERANCE}, found a difference of {difference:.3g} under "
            f"ONNX Runtime {onnxruntime.__version__}. Install the versions pinned in envs/requirements.txt."
        )
    logging.info("%s: logits differ by at most %.3g from those of PyTorch, on %d tiles.", path, difference, len(tiles))
    return difference
