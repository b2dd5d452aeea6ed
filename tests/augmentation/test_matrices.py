"""Changes of geometry, colour and stain on tiles with a known result."""

import numpy as np
import pytest
import torch

from histo.augmentation.changes import apply
from histo.augmentation.matrices import HED, LUMA, affine_matrices, stain_matrices
from histo.augmentation.plans import Plan
from support.augmentation import MEAN, STD, planes, run, strengths_of
from support.training import images


def test_affine_of_random_numbers_in_the_middle_is_the_identity_and_crops_the_centre():
    tiles = images(2)
    for side in (32, 96):
        plan = Plan(side=side)
        plan.theta = affine_matrices(np.full((2, 5), 0.5), side, strengths_of(shift=4, rotation=30, zoom=0.2))
        got, _ = apply(plan, torch.from_numpy(tiles), torch.zeros(2))
        margin = (96 - side) // 2
        expected = planes(tiles)[:, :, margin : 96 - margin, margin : 96 - margin]
        assert (got - expected).abs().max() < 1e-4


def test_tiles_of_another_side_are_cropped_at_their_centre():
    tiles = images(2)[:, :64, :64].copy()
    plan = Plan(side=32)
    plan.theta = affine_matrices(np.full((2, 5), 0.5), 32, strengths_of(shift=4), tile_side=64)
    got, _ = apply(plan, torch.from_numpy(tiles), torch.zeros(2))
    assert (got - planes(tiles)[:, :, 16:48, 16:48]).abs().max() < 1e-4
    cropped, _ = apply(Plan(side=32), torch.from_numpy(tiles), torch.zeros(2))
    np.testing.assert_array_equal(cropped.permute(0, 2, 3, 1).numpy(), tiles[:, 16:48, 16:48])


def affine_plan(**strengths):
    """Plan of one tile with random numbers that give + the full strength; a shift is along x."""
    u = np.array([[1.0 if strengths.get(name) else 0.5 for name in ("rotation", "zoom", "shear", "shift", "")]])
    plan = Plan(side=96)
    plan.theta = affine_matrices(u, 96, strengths_of(**strengths))
    return plan


def test_shift_moves_by_pixels():
    tiles = images(1)
    got, _ = apply(affine_plan(shift=5), torch.from_numpy(tiles), torch.zeros(1))
    assert (got[..., :, :90] - planes(tiles)[..., :, 5:95]).abs().max() < 1e-4


def test_rotation_by_90_degrees_is_rot90():
    tiles = images(1)
    got, _ = apply(affine_plan(rotation=90), torch.from_numpy(tiles), torch.zeros(1))
    assert (got - torch.rot90(planes(tiles), 1, (2, 3))).abs().max() < 1e-3


def test_zoom_enlarges():
    tiles = np.zeros((1, 96, 96, 3), dtype=np.uint8)
    tiles[:, 32:64, 32:64] = 255
    got, _ = apply(affine_plan(zoom=0.5), torch.from_numpy(tiles), torch.zeros(1))
    assert got[0, 0].sum().item() == pytest.approx(48**2, rel=0.02)


def test_shear_shifts_rows():
    tiles = np.zeros((1, 96, 96, 3), dtype=np.uint8)
    tiles[:, :, 47:49] = 255
    got, _ = apply(affine_plan(shear=45), torch.from_numpy(tiles), torch.zeros(1))
    columns = got[0, 0].argmax(1)
    assert columns[30].item() - columns[60].item() == pytest.approx(30, abs=1)


def test_interpolation_keeps_detail():
    tiles = np.random.default_rng(1).integers(64, 192, (8, 96, 96, 3), dtype=np.uint8)
    (got, _), _ = run(tiles, rotation=45, zoom=0.1)
    kept = got.std().item() / planes(tiles).std().item()
    assert 0.8 < kept < 1  # bilinear: 0.67, because white noise is all detail


def test_interpolation_does_not_overshoot():
    tiles = np.zeros((4, 96, 96, 3), dtype=np.uint8)
    tiles[:, ::4] = 255
    (got, _), _ = run(tiles, rotation=45)
    assert got.min() >= 0 and got.max() <= 1 + 1e-6 and got.std() > 0.3
    # The logarithm of an intensity below -1 would be NaN.
    (got, _), _ = run(tiles, rotation=45, stain_scale=0.3)
    assert got.min() > -0.01 and got.max() < 1.01 and got.std() > 0.3


def colour_change(tiles, **strengths):
    """Tiles and colour matrices after the augmentation with these strengths."""
    (got, _), plan = run(tiles, **strengths)
    return got, plan.colour.double()


def test_brightness_is_one_factor_per_tile():
    tiles = images(8)
    got, _ = colour_change(tiles, brightness=0.5)
    ratio = got[planes(tiles) > 0.2] / planes(tiles)[planes(tiles) > 0.2]
    factors = (got.sum((1, 2, 3)) / planes(tiles).sum((1, 2, 3))).tolist()
    assert ratio.min() >= 0.5 and ratio.max() <= 1.5 and np.std(factors) > 0.1
    assert torch.allclose(got[3], planes(tiles)[3] * factors[3], atol=1e-5)


def test_contrast_keeps_the_mean_colour():
    tile = np.broadcast_to(np.round(MEAN * 255).astype(np.uint8), (4, 96, 96, 3)).copy()
    got, matrix = colour_change(tile, contrast=0.9)
    assert (got - planes(tile)).abs().max() < 0.003
    assert np.ptp(matrix[:, 0, 0].numpy()) > 0.1


def test_saturation_and_hue_keep_grey_and_luma():
    grey = np.repeat(np.arange(96, dtype=np.uint8)[None, :, None, None], 96, 2).repeat(3, 3).repeat(4, 0)
    for strength in ({"saturation": 0.9}, {"hue": 0.5}):
        got, _ = colour_change(grey, **strength)
        assert (got - planes(grey)).abs().max() < 0.003
        colours = images(4)
        got, _ = colour_change(colours, **strength)
        luma = torch.tensor(LUMA, dtype=torch.float32).view(1, 3, 1, 1)
        assert ((got - planes(colours)) * luma).sum(1).abs().max() < 0.01
        assert (got - planes(colours)).abs().mean() > 0.02


def test_channel_changes_are_in_standard_deviations():
    tiles = images(64)
    got, matrix = colour_change(tiles, channel_offset=0.3)
    offset = ((got - planes(tiles)).mean((2, 3)).numpy()) / STD
    assert np.abs(offset).max() <= 0.3 + 1e-5 and np.abs(offset).max() > 0.25
    got, matrix = colour_change(tiles, channel_scale=0.2)
    scale = torch.diagonal(matrix[:, :, :3], dim1=1, dim2=2).numpy()
    assert 0.8 <= scale.min() < 0.83 and 1.17 < scale.max() <= 1.2
    assert np.allclose(matrix[:, :, :3].sum((1, 2)), scale.sum(1))
    assert np.allclose(matrix[:, :, 3], MEAN * (1 - scale), atol=1e-6)


def test_stain_of_strength_0_is_the_identity_to_one_level():
    tiles = images(4)
    plan = Plan(side=96)
    plan.stain = torch.from_numpy(stain_matrices(np.ones((4, 3)), np.zeros((4, 3))).astype(np.float32))
    got, _ = apply(plan, torch.from_numpy(tiles), torch.zeros(4))
    assert (got - planes(tiles)).abs().max() < 1 / 255
    assert run(tiles)[1].stain is None


def test_stain_scales_the_amount_of_one_stain():
    amount = np.linspace(0.1, 0.8, 96)
    for stain in range(3):
        light = 10 ** (-amount[:, None] * HED[stain])
        tiles = np.broadcast_to(np.round(256 * light - 1).clip(0, 255).astype(np.uint8), (1, 96, 96, 3)).copy()
        factor, offset = np.ones((1, 3)), np.zeros((1, 3))
        factor[0, stain], offset[0, stain] = 0.8, 0.05
        plan = Plan(side=96)
        plan.stain = torch.from_numpy(stain_matrices(factor, offset).astype(np.float32))
        got, _ = apply(plan, torch.from_numpy(tiles), torch.zeros(1))
        expected = (256 * 10 ** (-(0.8 * amount + 0.05)[:, None] * HED[stain]) - 1) / 255
        assert np.abs(got[0, :, 0].T.numpy() - expected).max() < 2 / 255


def test_stain_jitter_stays_within_its_strength():
    (got, _), _ = run(images(8) // 2 + 100, stain=0.05)
    change = np.abs(np.log10((got.numpy() * 255 + 1) / (planes(images(8) // 2 + 100).numpy() * 255 + 1)))
    assert 0.01 < change.max() < 0.3


def test_stain_scale_changes_amounts_and_keeps_white():
    white = np.full((40, 96, 96, 3), 255, dtype=np.uint8)
    (got, _), plan = run(white, stain_scale=0.3)
    assert (got - 1).abs().max() < 1e-6
    assert (run(white, stain=0.3)[0][0] - 1).abs().max() > 0.1
    # In the basis of the stains, the matrix has only factors.
    matrix = plan.stain[:, :, :3].transpose(1, 2).double().numpy()
    factors = HED @ matrix @ np.linalg.inv(HED)
    diagonal = np.diagonal(factors, axis1=1, axis2=2)
    assert np.abs(factors - diagonal[:, :, None] * np.eye(3)).max() < 1e-5
    assert 0.7 <= diagonal.min() < 0.73 and 1.27 < diagonal.max() <= 1.3 and plan.stain[:, :, 3].abs().max() == 0
