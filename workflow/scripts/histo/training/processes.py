"""The processes that train one network together, one for each GPU of the job (see histo.training.launch).

The slices of all processes make up the batch. Gradients are averaged by DistributedDataParallel; batch normalisation
and random numbers of the network are those of the whole batch (histo.training.whole_batch). A batch therefore gives the
same loss and gradients as in one process, up to rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from histo.errors import InputError


@dataclass(frozen=True)
class Processes:
    """Number and rank (0 … count - 1) of the processes of a job. A single process communicates with no other."""

    rank: int = 0
    count: int = 1

    @contextmanager
    def connected(self, device: torch.device) -> Iterator[None]:
        """Connect the processes for the time of the context, by NCCL for tensors on a GPU, else by Gloo.

        Raises InputError for several processes on Apple's MPS.
        """
        if self.count == 1:
            yield
            return
        if device.type == "mps":
            raise InputError(f"expected one process on Apple's MPS, found {self.count}. Train with the resource gpu=1.")
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        yield
        # Not after an error: the other processes may wait in a collective operation.
        dist.destroy_process_group()

    def rows(self, batch_size: int) -> slice:
        """Rows of a batch that this process computes."""
        return slice(self.rank * batch_size // self.count, (self.rank + 1) * batch_size // self.count)

    def shares(self, batch_size: int) -> list[float]:
        """Share of the batch that each process computes."""
        bounds = [rank * batch_size // self.count for rank in range(self.count + 1)]
        return [(stop - start) / batch_size for start, stop in pairwise(bounds)]

    def highest(self, value: int) -> int:
        """The highest value of all processes."""
        if self.count == 1:
            return value
        found = torch.tensor(value)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def mean(self, values: Tensor) -> Tensor:
        """Mean of the values of all processes; values: on the CPU."""
        if self.count > 1:
            dist.all_reduce(values)
            values /= self.count
        return values

    def stacked(self, values: Tensor) -> Tensor:
        """The values of all processes by rank, [count, …]."""
        result = values.new_zeros((self.count, *values.shape))
        result[self.rank] = values
        if self.count > 1:
            dist.all_reduce(result)  # zeros but for one process: exact
        return result

    def joined(self, values: np.ndarray, order: list[np.ndarray]) -> np.ndarray:
        """Values [N, …] of all positions; this process computed those of batches rank, rank + count, … of `order`."""
        if self.count == 1:
            return values
        positions = np.concatenate([*order[self.rank :: self.count], np.empty(0, dtype=np.int64)])
        result = np.zeros((sum(map(len, order)), *values.shape[1:]), dtype=values.dtype)
        result[positions] = values
        dist.all_reduce(torch.from_numpy(result))
        return result
