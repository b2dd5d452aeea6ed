"""Augmentation of single batches."""

import numpy as np
import torch

from histo.augmentation.changes import apply
from histo.augmentation.plans import Blends, Plan, Rectangles, plan
from histo.config.train import Augmentation
from support.training import NO_AUGMENTATION

MEAN, STD = np.array([0.70, 0.55, 0.70]), np.array([0.24, 0.28, 0.22])


def strengths_of(**strengths):
    """The block `augment` with these strengths, all others 0."""
    return Augmentation(**{**NO_AUGMENTATION, **strengths})


def run(tiles, labels=None, *, side=96, start=0, seed=1, **strengths):
    """((tiles, labels), plan) after the augmentation with these strengths."""
    count = len(tiles)
    planned = plan(
        strengths_of(**strengths), side=side, mean=MEAN, std=STD, seed=seed, epoch=1, start=start, count=count
    )
    labels = torch.zeros(count) if labels is None else labels
    return apply(planned, torch.from_numpy(tiles), labels), planned


def planes(tiles):
    """float32 [N, 3, 96, 96] in 0..1."""
    return torch.from_numpy(tiles).permute(0, 3, 1, 2).float() * (1 / 255)


def assert_equal(found, expected):
    """Compare two plans, or what they consist of, to the bit."""
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray | torch.Tensor):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert np.array_equal(np.asarray(found), np.asarray(expected))
    elif isinstance(expected, Plan | Rectangles | Blends):
        for name, value in vars(expected).items():
            assert_equal(getattr(found, name), value)
    else:
        assert found == expected
