"""Fused augmentation: the tiles of `changes.apply`, gathered from all tiles, compiled and for a GPU."""

import shutil

import numpy as np
import pytest
import torch

from histo.augmentation import changes
from histo.augmentation.changes import apply
from histo.augmentation.fused import FusedAugmentation, affine_grid, fused_for
from histo.augmentation.plans import noise_values, plan
from support.augmentation import MEAN, STD, strengths_of
from support.operations import META, Operations
from support.training import ALL_AUGMENTATIONS, EVERYTHING, images, settings

COLOUR = {"flips": True, "brightness": 0.1, "hue": 0.05, "channel_scale": 0.3, "channel_offset": 0.6}
STRENGTHS = {
    "views": {"flips": True},
    "colour": COLOUR,
    "stain": {"stain": 0.1, "stain_scale": 0.2, "gamma": 0.4},
    "detail": {"flips": True, "sharpness": 0.5, "noise": 8.0, "probability": 0.5},
    "geometry": {"flips": True, "rotation": 30, "zoom": 0.1},
    "erase": {"flips": True, "erase": 0.5},
    "all": ALL_AUGMENTATIONS,
    "everything": EVERYTHING,
}


def planned(strengths, side=96, count=40, seed=1):
    return plan(strengths_of(**strengths), side=side, mean=MEAN, std=STD, seed=seed, epoch=1, start=0, count=count)


@pytest.fixture
def eager(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    return FusedAugmentation()


def compare(augmentation, strengths, side, at_most):
    """Compare with `apply`: once all tiles resident, of which 40 of 100 are chosen, once the batch alone.

    at_most: largest difference of a value; the mean difference is at most 1e-6.
    """
    tiles, labels = torch.from_numpy(images(100)), torch.arange(40) % 2 * 1.0
    chosen = torch.from_numpy(np.random.default_rng(2).permutation(100)[:40])
    chosen_plan = planned(strengths, side)
    expected, mixed = apply(chosen_plan, tiles[chosen], labels)
    for resident, batch in ((tiles, chosen), (None, tiles[chosen])):
        found, found_labels = augmentation(chosen_plan, resident, batch, labels)
        assert found.dtype == expected.dtype and found.is_contiguous()
        torch.testing.assert_close(found, expected, atol=at_most, rtol=0)
        assert (found.float() - expected.float()).abs().mean() < 1e-6
        torch.testing.assert_close(found_labels, mixed, atol=0, rtol=0)


@pytest.mark.parametrize("strengths", STRENGTHS.values(), ids=STRENGTHS)
@pytest.mark.parametrize("side", [32, 64, 96])
def test_the_tiles_are_those_of_apply(eager, strengths, side):
    # Interpolation between random pixels amplifies the rounding of the places between which it interpolates.
    compare(eager, strengths, side, 2e-5 if "rotation" in strengths else 5e-6)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
@pytest.mark.parametrize(("name", "at_most"), [("views", 0), ("colour", 5e-6), ("everything", 1e-3)])
def test_compiled_as_one_graph_they_are_too(name, at_most):
    compare(FusedAugmentation(), STRENGTHS[name], 64, at_most)


@pytest.mark.parametrize("strengths", STRENGTHS.values(), ids=STRENGTHS)
def test_a_plan_is_one_copy_to_the_device_and_the_host_never_waits(eager, strengths):
    changes.noise_table(META, noise_values(64))  # copied once per process
    resident = torch.empty((100, 96, 96, 3), dtype=torch.uint8, device=META)
    positions, labels = torch.empty(40, dtype=torch.int64, device=META), torch.empty(40, device=META)
    with Operations() as operations:
        tiles, mixed = eager(planned(strengths, 64), resident, positions, labels)
    assert tiles.shape == (40, 3, 64, 64) and mixed.shape == (40,) and tiles.device == mixed.device == META
    assert operations.copies() == ["_to_copy"] and operations.waits() == set()


def test_the_grid_equals_affine_grid():
    theta = torch.rand(5, 2, 3)
    expected = torch.nn.functional.affine_grid(theta, [5, 3, 64, 64], align_corners=False)
    torch.testing.assert_close(affine_grid(theta, 64), expected, atol=1e-6, rtol=0)


def test_only_compiled_trainings_on_a_gpu_use_it():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert fused_for(settings(compile=True), gpu) and fused_for(settings(cuda_graphs=True), gpu)
    assert fused_for(settings(), gpu) is None and fused_for(settings(compile=True), cpu) is None
