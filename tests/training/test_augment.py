"""Augmentation: each change on tiles with a known result, and random numbers that depend on the position only."""

import hashlib

import numpy as np
import pytest
import torch

from histo.config.train import Augmentation
from histo.geometry import Geometry
from histo.networks.dihedral import dihedral
from histo.training import augment
from support.operations import META, Operations
from support.training import ALL_AUGMENTATIONS, NO_AUGMENTATION, images

MEAN, STD = np.array([0.70, 0.55, 0.70]), np.array([0.24, 0.28, 0.22])
CENTRE = np.s_[:, :, 32:64, 32:64]


def strengths_of(**strengths):
    """The block `augment` with these strengths, all others 0."""
    return Augmentation(**{**NO_AUGMENTATION, **strengths})


def run(tiles, labels=None, *, side=96, start=0, seed=1, **strengths):
    """((tiles, labels), plan) after the augmentation with these strengths."""
    count = len(tiles)
    plan = augment.plan(
        strengths_of(**strengths), side=side, mean=MEAN, std=STD, seed=seed, epoch=1, start=start, count=count
    )
    labels = torch.zeros(count) if labels is None else labels
    return augment.apply(plan, torch.from_numpy(tiles), labels), plan


def planes(tiles):
    """float32 [N, 3, 96, 96] in 0..1."""
    return torch.from_numpy(tiles).permute(0, 3, 1, 2).float() * (1 / 255)


def test_random_numbers_depend_only_on_seed_epoch_and_position():
    numbers = augment.draw(7, 3, 0, 50)
    assert np.array_equal(numbers[20:32], augment.draw(7, 3, 20, 12))
    assert not np.array_equal(numbers, augment.draw(7, 4, 0, 50))
    assert not np.array_equal(numbers, augment.draw(8, 3, 0, 50))
    assert numbers.min() >= 0 and numbers.max() < 1 and abs(numbers.mean() - 0.5) < 0.03


@pytest.mark.parametrize(
    "strengths", [ALL_AUGMENTATIONS, {"flips": True}, {"erase": 0.05, "mixup": 0.03, "cutmix": 0.03}]
)
@pytest.mark.parametrize(("batch_size", "steps"), [(7, 300), (16, 130), (1000, 5), (3000, 2)])
def test_plans_of_a_block_are_those_of_its_batches(strengths, batch_size, steps, monkeypatch):
    drawn, plan = [], augment.plan
    same = {"side": 64, "mean": MEAN, "std": STD, "seed": 4, "epoch": 9}
    expected = [
        plan(strengths_of(**strengths), start=step * batch_size, count=batch_size, **same) for step in range(steps)
    ]
    monkeypatch.setattr(augment, "plan", lambda *a, **k: drawn.append(k["count"]) or plan(*a, **k))
    plans = augment.Plans(strengths_of(**strengths), batch_size=batch_size, **same)
    for step in range(steps):
        assert_equal(plans.batch(step), expected[step])
    assert (
        len(drawn) == -(-steps // max(1, 2048 // batch_size)) and max(drawn) == max(2048 // batch_size, 1) * batch_size
    )
    resumed = augment.Plans(strengths_of(**strengths), batch_size=batch_size, **same)
    assert_equal(resumed.batch(steps - 1), expected[-1])


def assert_equal(found, expected):
    """Compare two plans, or what they consist of, to the bit."""
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray | torch.Tensor):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert np.array_equal(np.asarray(found), np.asarray(expected))
    elif isinstance(expected, augment.Plan | augment.Rectangles | augment.Blends):
        for name, value in vars(expected).items():
            assert_equal(getattr(found, name), value)
    else:
        assert found == expected


def test_other_batch_boundaries_give_the_same_tiles():
    # Without mixup and cutmix, which use the next tile of the batch.
    tiles = images(12)
    strengths = {**ALL_AUGMENTATIONS, "mixup": 0.0, "cutmix": 0.0}
    (all_tiles, _), _ = run(tiles, **strengths)
    (part, _), _ = run(tiles[5:9], start=5, **strengths)
    assert torch.allclose(all_tiles[5:9], part, atol=1e-5)


@pytest.mark.parametrize("side", [32, 64, 96])
def test_strength_0_gives_the_exact_centre(side):
    tiles = images(3)
    (got, labels), _ = run(tiles, side=side)
    margin = (96 - side) // 2
    assert got.dtype == torch.uint8
    assert torch.equal(got.permute(0, 2, 3, 1), torch.from_numpy(tiles)[:, margin : 96 - margin, margin : 96 - margin])
    assert labels.tolist() == [0, 0, 0]


def test_flips_are_exact_and_all_eight_views_occur():
    tiles = images(64)
    (got, _), plan = run(tiles, flips=True)
    assert set(plan.views) == set(range(8))
    for tile, view, result in zip(tiles, plan.views, got, strict=True):
        expected = tile.transpose(1, 0, 2) if view & 4 else tile
        expected = expected[:, ::-1] if view & 1 else expected
        expected = expected[::-1] if view & 2 else expected
        assert np.array_equal(result.permute(1, 2, 0).numpy(), expected)


def test_flips_are_the_same_as_part_of_an_affine_change():
    tiles = images(64)
    (exact, _), plan = run(tiles, flips=True)
    (got, _), affine = run(tiles, flips=True, shift=1e-6)
    assert affine.views is None and len(set(plan.views)) == 8
    assert (got - exact.float() / 255).abs().max() < 1e-3


def test_grid_equals_affine_grid():
    theta = torch.rand(5, 2, 3)
    expected = torch.nn.functional.affine_grid(theta, [5, 3, 64, 64], align_corners=False)
    assert torch.allclose(augment._grid(theta, 64), expected, atol=1e-6)


def test_the_eight_views_differ():
    tile = torch.from_numpy(images(1))
    assert len({dihedral(tile, view).contiguous().numpy().tobytes() for view in range(8)}) == 8


def test_affine_of_random_numbers_in_the_middle_is_the_identity_and_crops_the_centre():
    tiles = images(2)
    for side in (32, 96):
        plan = augment.Plan(side=side)
        plan.theta = augment._affine(np.full((2, 5), 0.5), side, strengths_of(shift=4, rotation=30, zoom=0.2))
        got, _ = augment.apply(plan, torch.from_numpy(tiles), torch.zeros(2))
        margin = (96 - side) // 2
        expected = planes(tiles)[:, :, margin : 96 - margin, margin : 96 - margin]
        assert (got - expected).abs().max() < 1e-4


def test_tiles_of_another_side_are_cropped_at_their_centre():
    geometry, tiles = Geometry(tile_side=64, centre_side=16), images(2)[:, :64, :64]
    strengths = strengths_of(shift=4, erase=1.0, cutmix=1.0)
    plan = augment.plan(
        strengths, side=32, mean=np.full(3, 0.5), std=np.ones(3), seed=1, epoch=1, start=0, count=2, geometry=geometry
    )
    boxes = plan.erase.box
    assert ((boxes[:, [0, 2]] >= 0) & (boxes[:, [1, 3]] <= 32)).all()
    # No erased rectangle reaches the central 16 of 32 pixels.
    inside = (boxes[:, 0] < 24) & (boxes[:, 1] > 8) & (boxes[:, 2] < 24) & (boxes[:, 3] > 8)
    assert not inside.any()
    plan = augment.Plan(side=32)
    plan.theta = augment._affine(np.full((2, 5), 0.5), 32, strengths, tile_side=64)
    got, _ = augment.apply(plan, torch.from_numpy(tiles.copy()), torch.zeros(2))
    assert (got - planes(tiles)[:, :, 16:48, 16:48]).abs().max() < 1e-4
    cropped, _ = augment.apply(augment.Plan(side=32), torch.from_numpy(tiles.copy()), torch.zeros(2))
    np.testing.assert_array_equal(cropped.permute(0, 2, 3, 1).numpy(), tiles[:, 16:48, 16:48])


def affine_plan(**strengths):
    """Plan of one tile with random numbers that give + the full strength; a shift is along x."""
    u = np.array([[1.0 if strengths.get(name) else 0.5 for name in ("rotation", "zoom", "shear", "shift", "")]])
    plan = augment.Plan(side=96)
    plan.theta = augment._affine(u, 96, strengths_of(**strengths))
    return plan


def test_shift_moves_by_pixels():
    tiles = images(1)
    got, _ = augment.apply(affine_plan(shift=5), torch.from_numpy(tiles), torch.zeros(1))
    assert (got[..., :, :90] - planes(tiles)[..., :, 5:95]).abs().max() < 1e-4


def test_rotation_by_90_degrees_is_rot90():
    tiles = images(1)
    got, _ = augment.apply(affine_plan(rotation=90), torch.from_numpy(tiles), torch.zeros(1))
    assert (got - torch.rot90(planes(tiles), 1, (2, 3))).abs().max() < 1e-3


def test_zoom_enlarges():
    tiles = np.zeros((1, 96, 96, 3), dtype=np.uint8)
    tiles[:, 32:64, 32:64] = 255
    got, _ = augment.apply(affine_plan(zoom=0.5), torch.from_numpy(tiles), torch.zeros(1))
    assert got[0, 0].sum().item() == pytest.approx(48**2, rel=0.02)


def test_shear_shifts_rows():
    tiles = np.zeros((1, 96, 96, 3), dtype=np.uint8)
    tiles[:, :, 47:49] = 255
    got, _ = augment.apply(affine_plan(shear=45), torch.from_numpy(tiles), torch.zeros(1))
    columns = got[0, 0].argmax(1)
    assert columns[30].item() - columns[60].item() == pytest.approx(30, abs=1)


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
        luma = torch.tensor(augment.LUMA, dtype=torch.float32).view(1, 3, 1, 1)
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
    plan = augment.Plan(side=96)
    plan.stain = torch.from_numpy(augment.stain_matrices(np.ones((4, 3)), np.zeros((4, 3))).astype(np.float32))
    got, _ = augment.apply(plan, torch.from_numpy(tiles), torch.zeros(4))
    assert (got - planes(tiles)).abs().max() < 1 / 255
    assert run(tiles)[1].stain is None


def test_stain_scales_the_amount_of_one_stain():
    amount = np.linspace(0.1, 0.8, 96)
    for stain in range(3):
        light = 10 ** (-amount[:, None] * augment.HED[stain])
        tiles = np.broadcast_to(np.round(256 * light - 1).clip(0, 255).astype(np.uint8), (1, 96, 96, 3)).copy()
        factor, offset = np.ones((1, 3)), np.zeros((1, 3))
        factor[0, stain], offset[0, stain] = 0.8, 0.05
        plan = augment.Plan(side=96)
        plan.stain = torch.from_numpy(augment.stain_matrices(factor, offset).astype(np.float32))
        got, _ = augment.apply(plan, torch.from_numpy(tiles), torch.zeros(1))
        expected = (256 * 10 ** (-(0.8 * amount + 0.05)[:, None] * augment.HED[stain]) - 1) / 255
        assert np.abs(got[0, :, 0].T.numpy() - expected).max() < 2 / 255


def test_stain_jitter_stays_within_its_strength():
    (got, _), _ = run(images(8) // 2 + 100, stain=0.05)
    change = np.abs(np.log10((got.numpy() * 255 + 1) / (planes(images(8) // 2 + 100).numpy() * 255 + 1)))
    assert 0.01 < change.max() < 0.3


def test_erase_leaves_the_centre_unchanged():
    tiles = images(200)
    (got, _), plan = run(tiles, erase=0.5)
    changed = (got - planes(tiles)).abs().amax((1, 2, 3)) > 1e-3
    assert changed.nonzero().flatten().tolist() == plan.erase.tile.tolist()
    assert 70 < changed.sum() < 130
    assert (got - planes(tiles))[CENTRE].abs().max() < 1e-6
    erased = ((got - planes(tiles)).abs().amax(1) > 1e-3).float().mean((1, 2))[changed]
    assert erased.min() > 0.01 and erased.max() < 0.3
    (small, _), _ = run(tiles[:4], side=32, erase=1.0)
    assert torch.equal(small.permute(0, 2, 3, 1), torch.from_numpy(tiles)[:4, 32:64, 32:64])


def test_cutmix_takes_the_label_of_the_centre():
    tiles = images(300)
    labels = torch.arange(300) % 2 * 1.0
    (got, mixed), plan = run(tiles, labels, cutmix=0.6)
    own, other = planes(tiles), planes(tiles).roll(-1, 0)
    over = np.zeros(300, dtype=bool)
    over[plan.cutmix.tile] = plan.covers_centre
    assert 40 < over.sum() < 140
    over = torch.from_numpy(over)
    assert torch.equal(got[CENTRE], torch.where(over[:, None, None, None], other[CENTRE], own[CENTRE]))
    assert torch.equal(mixed, torch.where(over, labels.roll(-1), labels))
    assert ((got == own) | (got == other)).all()
    pasted = ((got != own).any(1)).float().mean((1, 2))
    rest = np.setdiff1d(np.arange(300), plan.cutmix.tile)
    assert pasted[rest].max() == 0 and pasted[plan.cutmix.tile].min() > 0.01


def test_mixup_mixes_tiles_and_labels_with_equal_weights():
    tiles = images(100)
    labels = torch.arange(100) % 2 * 1.0
    (got, mixed), plan = run(tiles, labels, mixup=0.7)
    weight = torch.zeros(100)
    weight[plan.mixup.tile] = plan.mixup.weight
    assert 50 < (weight > 0).sum() < 90 and weight.max() < 0.5
    share = weight[:, None, None, None]
    expected = planes(tiles) * (1 - share) + planes(tiles).roll(-1, 0) * share
    assert torch.allclose(got, expected, atol=1e-5)
    assert torch.allclose(mixed, labels * (1 - weight) + labels.roll(-1) * weight)


@pytest.mark.parametrize("strengths", [{"mixup": 0.7}, {"cutmix": 0.6}])
def test_labels_of_several_classes_are_mixed_class_by_class(strengths):
    labels = torch.arange(100) % 4
    (_, mixed), _ = run(images(100), torch.nn.functional.one_hot(labels, 4).float(), **strengths)
    for k in range(4):
        (_, expected), _ = run(images(100), (labels == k).float(), **strengths)
        assert torch.equal(mixed[:, k], expected)
    assert torch.allclose(mixed.sum(1), torch.ones(100))


def test_all_augmentations_together_are_finite_and_of_the_right_size():
    for side in (32, 64, 96):
        (got, labels), _ = run(images(16), torch.ones(16), side=side, **ALL_AUGMENTATIONS)
        assert got.shape == (16, 3, side, side) and torch.isfinite(got).all()
        assert torch.equal(labels, torch.ones(16))


RECORDED_WITH = ("AVX512", "2.14")
VIEWS_AND_MIXING = {**NO_AUGMENTATION, "flips": True, "erase": 0.5, "mixup": 0.4, "cutmix": 0.4}


def torch_version():
    """Major and minor version of torch."""
    return ".".join(torch.__version__.split(".")[:2])


@pytest.mark.parametrize(
    ("strengths", "side", "expected"),
    [
        (ALL_AUGMENTATIONS, 32, {1: "92423046893014b9", 2: "d27ddf309161b5ed", 3: "ec6ed74a07a45736"}),
        (ALL_AUGMENTATIONS, 96, {1: "25d4e8e77dc92644", 2: "04e41cb10e969ea0", 3: "fc36494d859b724d"}),
        ({"flips": True}, 32, {1: "cfb0df1b92e4ae65", 2: "66053b3a50f32a54", 3: "c1914d12a73ce1df"}),
        ({"flips": True}, 96, {1: "cc6d70e44d688d8b", 2: "9653eb05c271f9ae", 3: "d931f39019a337a8"}),
        (VIEWS_AND_MIXING, 32, {1: "2018d79808007816", 2: "fc8a1ff3306c370a", 3: "9a392b22da522824"}),
        (VIEWS_AND_MIXING, 96, {1: "78126add9645c947", 2: "d86d1ab1efe782d7", 3: "55d5b3b9dc4137c9"}),
    ],
)
def test_the_bits_are_those_of_earlier_versions(strengths, side, expected):
    # Except for flips, the last bits depend on the instructions of the processor and on the version of torch.
    if set(strengths) != {"flips"} and (torch.backends.cpu.get_cpu_capability(), torch_version()) != RECORDED_WITH:
        pytest.skip(f"bits recorded with {', '.join(RECORDED_WITH)}")
    for seed, digest in expected.items():
        plan = augment.plan(
            strengths_of(**strengths), side=side, mean=MEAN, std=STD, seed=seed, epoch=2, start=40, count=40
        )
        tiles, labels = augment.apply(plan, torch.from_numpy(images(40, seed)), torch.arange(40) % 2 * 1.0)
        found = hashlib.sha256(tiles.contiguous().numpy().tobytes() + labels.numpy().tobytes()).hexdigest()[:16]
        assert found == digest


@pytest.mark.parametrize("strengths", [ALL_AUGMENTATIONS, VIEWS_AND_MIXING, {"mixup": 0.5}, {"cutmix": 0.5}])
@pytest.mark.parametrize("side", [64, 96])
def test_computing_all_rows_as_on_a_gpu_gives_the_same_bits(strengths, side, monkeypatch):
    tiles, labels = images(40), torch.arange(40) % 2 * 1.0
    expected, _ = run(tiles, labels, side=side, **strengths)
    monkeypatch.setattr(augment, "_rows", lambda chosen: torch.arange(len(chosen)))
    monkeypatch.setattr(augment, "_apply_views", augment._apply_views_without_lists)
    got, _ = run(tiles, labels, side=side, **strengths)
    assert torch.equal(got[0], expected[0]) and torch.equal(got[1], expected[1])
    assert torch.equal(got[0].signbit(), expected[0].signbit())


@pytest.mark.parametrize(
    "strengths", [ALL_AUGMENTATIONS, VIEWS_AND_MIXING, {"flips": True}, {"flips": True, "hue": 0.1}]
)
def test_a_plan_is_one_copy_to_the_device_and_the_host_never_waits(strengths):
    operations_of_seeds = set()
    for seed in (1, 2):
        plan = augment.plan(
            strengths_of(**strengths), side=64, mean=MEAN, std=STD, seed=seed, epoch=1, start=0, count=40
        )
        tiles, labels = torch.empty((40, 96, 96, 3), dtype=torch.uint8, device=META), torch.empty(40, device=META)
        with Operations() as operations:
            got, mixed = augment.apply(plan, tiles, labels)
        assert got.shape == (40, 3, 64, 64) and mixed.shape == (40,) and got.device == mixed.device == META
        assert operations.copies() == ["_to_copy"] and operations.waits() == set()
        operations_of_seeds.add(tuple(name for name, _ in operations.found))
    assert len(operations_of_seeds) == 1  # the same operations whichever tiles are chosen
