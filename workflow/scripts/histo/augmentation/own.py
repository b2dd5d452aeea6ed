"""Augmentation by a function in a Python file of the user's.

It gets random numbers for each tile, drawn on the CPU for the whole batch as a function of seed, epoch and step. A run
that resumes, and several processes that share a batch, therefore draw the same.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from histo.errors import InputError
from histo.user_functions import failure, load_function

SETTING = "augmentation"
DRAWS = 16  # random numbers of a tile


def draws(seed: int, epoch: int, step: int, batch_size: int) -> Tensor:
    """Random numbers of the tiles of a batch, float32 [batch_size, DRAWS], uniform in 0 to 1; step: counted from 0."""
    # 2^62 separates them from those of `augment` (epoch) and of the order of batches (2^63 + epoch).
    key = np.array([seed, (1 << 62) + epoch], dtype=np.uint64)
    random = np.random.Generator(np.random.Philox(key=key, counter=np.array([0, step, 0, 0], dtype=np.uint64)))
    return torch.from_numpy(random.random((batch_size, DRAWS), dtype=np.float32))


def augmented(reference: str, tiles: Tensor, random: Tensor) -> Tensor:
    """Call `function(tiles, random)` of a file and return the tiles that it returns.

    tiles: [N, 3, side, side], uint8 in 0..255 or float in 0..1; the function gets and returns float32 in 0..1; random:
    `draws` of these tiles. Raises InputError if the file or the function fails, or returns another shape or type.
    """
    tiles = tiles.float() / 255 if tiles.dtype == torch.uint8 else tiles
    try:
        changed = _load(reference)(tiles, random.to(tiles.device))
    except InputError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise failure(reference, SETTING, error) from error
    if not isinstance(changed, Tensor) or (changed.shape, changed.dtype) != (tiles.shape, tiles.dtype):
        described = isinstance(changed, Tensor)
        found = f"{list(changed.shape)} of {changed.dtype}" if described else type(changed).__name__
        raise InputError(
            f"{SETTING} {reference}: expected tiles {list(tiles.shape)} of {tiles.dtype}, as given, found {found}."
        )
    return changed


@cache
def _load(reference: str) -> Callable[..., Any]:
    return load_function(reference, SETTING)
