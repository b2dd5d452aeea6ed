"""Recording of the operations of torch, for tests that no operation lets the host wait for a GPU.

The device `meta` stands for the GPU: its tensors have no data, so that an operation that needs values on the host
fails, and a copy between the host and the device is visible as an operation on tensors of both.
"""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
WAITS = {"nonzero", "_local_scalar_dense", "item", "is_nonzero", "masked_select", "_unique2", "equal"}


class Operations(TorchDispatchMode):
    """Records operations. Attribute `found`: name and types of the devices of input and output of each operation."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, set[str]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        tensors = (value for value in tree_leaves((args, kwargs, result)) if isinstance(value, torch.Tensor))
        # Scalars of the host are passed with the call of a kernel, without a copy.
        devices = {value.device.type for value in tensors if value.device.type != "cpu" or value.ndim}
        self.found.append((function.overloadpacket.__name__, devices))
        return result

    def copies(self) -> list[str]:
        """Operations between the host and the device."""
        return [name for name, devices in self.found if len(devices) > 1 or ("copy" in name and "cpu" in devices)]

    def waits(self) -> set[str]:
        """Operations after which the host waits for the device."""
        return WAITS & {name for name, _ in self.found}
