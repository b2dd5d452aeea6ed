"""Changes of tiles on their device, and the same bits as in earlier versions."""

import hashlib

import numpy as np
import pytest
import torch

from histo.augmentation import changes
from histo.augmentation.changes import apply
from histo.augmentation.plans import Plan, noise_values, plan
from histo.networks.dihedral import dihedral
from support.augmentation import MEAN, STD, planes, run, strengths_of
from support.operations import META, Operations
from support.training import ALL_AUGMENTATIONS, EVERYTHING, NO_AUGMENTATION, images

CENTRE = np.s_[:, :, 32:64, 32:64]


def test_other_batch_boundaries_give_the_same_tiles():
    # Without mixup and cutmix, which use the next tile of the batch.
    tiles = images(12)
    strengths = {**EVERYTHING, "mixup": 0.0, "cutmix": 0.0}
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
    assert torch.allclose(changes._grid(theta, 64), expected, atol=1e-6)


def test_the_eight_views_differ():
    tile = torch.from_numpy(images(1))
    assert len({dihedral(tile, view).contiguous().numpy().tobytes() for view in range(8)}) == 8


def test_gamma_is_an_exponent_per_channel_and_keeps_white_and_black():
    tiles = images(40)
    tiles[:, 0], tiles[:, 1] = 255, 0
    (got, _), plan = run(tiles, gamma=0.6)
    exponent = plan.gamma.double()
    expected = planes(tiles).double() ** exponent[:, :, None, None]
    assert (got - expected).abs().max() < 1e-6
    assert torch.equal(got[:, :, 0], torch.ones(40, 3, 96)) and torch.equal(got[:, :, 1], torch.zeros(40, 3, 96))
    found = exponent.log().numpy()
    assert 0.57 < found.max() <= 0.6 and -0.6 <= found.min() < -0.57 and abs(found.mean()) < 0.1
    assert np.abs(np.corrcoef(found.T) - np.eye(3)).max() < 0.4  # channels vary on their own


def blurred(tiles):
    """float64 [N, 3, 96, 96], convolved with the binomial filter of 5 × 5 pixels."""
    padded = np.pad(planes(tiles).double().numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    return torch.from_numpy(
        sum(kernel[i, j] * padded[:, :, i : i + 96, j : j + 96] for i in range(5) for j in range(5))
    )


def test_sharpness_scales_what_a_blur_removes():
    tiles = images(3)
    plan = Plan(side=96, sharpness=torch.tensor([0.0, 1.0, 2.0]))
    got, _ = apply(plan, torch.from_numpy(tiles), torch.zeros(3))
    assert (got[0] - blurred(tiles)[0]).abs().max() < 1e-6
    assert torch.equal(got[1], planes(tiles)[1])
    assert (got[2] - (2 * planes(tiles)[2] - blurred(tiles)[2])).abs().max() < 1e-6
    drawn = run(images(200), sharpness=0.4)[1].sharpness
    assert 0.6 <= drawn.min() < 0.62 and 1.38 < drawn.max() <= 1.4
    flat = np.full((2, 96, 96, 3), 77, dtype=np.uint8)
    assert (run(flat, sharpness=1.0)[0][0] - 77 / 255).abs().max() < 1e-6


def test_noise_is_white_and_of_the_drawn_standard_deviation():
    tiles = images(40) // 2 + 60
    (got, _), plan = run(tiles, noise=10.0)
    noise = (got - planes(tiles)).numpy() * 255
    deviation = plan.noise.numpy() * 255
    assert 0 < deviation.min() < 1 and 9 < deviation.max() <= 10
    assert noise.std((1, 2, 3)) == pytest.approx(deviation, rel=0.03, abs=0.01)
    scaled = noise / deviation[:, None, None, None]
    assert np.abs(scaled.mean((1, 2, 3))).max() < 0.03
    neighbours = [(scaled[..., 1:], scaled[..., :-1]), (scaled[:, :, 1:], scaled[:, :, :-1])]
    neighbours += [(scaled[:, 1:], scaled[:, :-1]), (scaled[1:], scaled[:-1])]
    for one, other in neighbours:
        assert np.abs((one * other).mean((1, 2, 3))).max() < 0.04
    assert len(set(plan.noise_start)) == 40
    assert plan.noise_start.max() <= noise_values(96) - 3 * 96 * 96 and np.ptp(plan.noise_start) > 200_000


KINDS = [
    {"channel_offset": 0.3, "contrast": 0.1}, {"stain": 0.1}, {"gamma": 0.6}, {"stain_scale": 0.3}, {"sharpness": 0.5},
    {"noise": 8.0},
]  # fmt: skip


def test_probability_leaves_tiles_unchanged_kind_by_kind():
    tiles = images(300)
    unchanged, changed = planes(tiles)[CENTRE], []
    for strengths in KINDS:
        (always, _), _ = run(tiles, side=32, **strengths)
        (got, _), _ = run(tiles, side=32, probability=0.3, **strengths)
        exact = not strengths.keys() & {"stain", "stain_scale"}  # these compute a logarithm and its inverse
        difference = (got - unchanged).abs().amax((1, 2, 3))
        chosen = difference > (0 if exact else 1e-5)
        assert 60 < chosen.sum() < 120
        assert torch.allclose(got[chosen], always[chosen], atol=1e-6)
        (never, _), _ = run(tiles[:20], side=32, probability=0.0, **strengths)
        assert (never - unchanged[:20]).abs().max() <= (0 if exact else 1e-5)
        changed.append(chosen.numpy())
    assert np.abs(np.corrcoef(changed) - np.eye(len(KINDS))).max() < 0.25  # each on its own
    assert 0.05 < (~np.any(changed, axis=0)).mean() < 0.19  # 0.7 ** 6 = 0.118


def test_the_logarithm_from_a_table_has_the_bits_of_that_of_each_pixel():
    tiles = torch.from_numpy(images(5)).permute(0, 3, 1, 2)
    from_table = changes._look_up(changes._logarithm(changes._intensities(None, tiles.device)), tiles)
    assert torch.equal(from_table, changes._logarithm(tiles.float().contiguous()))
    strengths = {"stain": 0.05, "stain_scale": 0.2, "gamma": 0.3}
    (one, _), _ = run(images(20), **strengths)
    (other, _), _ = run(images(20), shift=1e-6, **strengths)  # interpolated, so computed for each pixel
    assert (one - other).abs().max() < 5e-3


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


def test_all_augmentations_together_are_finite_and_of_the_right_size():
    for side in (32, 64, 96):
        (got, labels), _ = run(images(16), torch.ones(16), side=side, **EVERYTHING)
        assert got.shape == (16, 3, side, side) and torch.isfinite(got).all()
        assert torch.equal(labels, torch.ones(16))


RECORDED_WITH = ("AVX512", "2.14")  # instructions, version of torch

VIEWS_AND_MIXING = {**NO_AUGMENTATION, "flips": True, "erase": 0.5, "mixup": 0.4, "cutmix": 0.4}


def torch_version():
    """Major and minor version of torch."""
    return ".".join(torch.__version__.split(".")[:2])


def augmented(strengths, side, seed):
    """Tiles and labels of a batch in the middle of the second epoch."""
    planned = plan(strengths_of(**strengths), side=side, mean=MEAN, std=STD, seed=seed, epoch=2, start=40, count=40)
    return apply(planned, torch.from_numpy(images(40, seed)), torch.arange(40) % 2 * 1.0)


@pytest.mark.parametrize(
    ("strengths", "side", "expected"),
    [
        ({"flips": True}, 32, {1: "cfb0df1b92e4ae65", 2: "66053b3a50f32a54", 3: "c1914d12a73ce1df"}),
        ({"flips": True}, 96, {1: "cc6d70e44d688d8b", 2: "9653eb05c271f9ae", 3: "d931f39019a337a8"}),
        (VIEWS_AND_MIXING, 32, {1: "2018d79808007816", 2: "fc8a1ff3306c370a", 3: "9a392b22da522824"}),
        (VIEWS_AND_MIXING, 96, {1: "78126add9645c947", 2: "d86d1ab1efe782d7", 3: "55d5b3b9dc4137c9"}),
    ],
)
def test_the_bits_are_those_of_earlier_versions(strengths, side, expected):
    # Except for flips, the last bits depend on the processor's instructions and on the version of torch.
    here = torch.backends.cpu.get_cpu_capability(), torch_version()
    if set(strengths) != {"flips"} and here != RECORDED_WITH:
        pytest.skip(f"bits recorded with {', '.join(RECORDED_WITH)}")
    for seed, digest in expected.items():
        tiles, labels = augmented(strengths, side, seed)
        found = hashlib.sha256(tiles.contiguous().numpy().tobytes() + labels.numpy().tobytes()).hexdigest()[:16]
        assert found == digest


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (32, {1: (302.197, 386.6164), 2: (197.575, 419.3414), 3: (288.765, 384.9112)}),
        (96, {1: (425.383, 397.6164), 2: (740.718, 379.3414), 3: (315.640, 433.9112)}),
    ],
)
def test_the_values_are_those_of_earlier_versions(side, expected):
    # Logarithms, powers and interpolation are rounded differently on other processors: projections, not bits.
    for seed, (of_tiles, of_labels) in expected.items():
        tiles, labels = augmented(ALL_AUGMENTATIONS, side, seed)
        direction = np.random.Generator(np.random.Philox(1)).standard_normal(tiles.shape)
        assert (tiles.double().numpy() * direction).sum() == pytest.approx(of_tiles, abs=0.01)
        assert labels.double().numpy() @ np.arange(40) == pytest.approx(of_labels, abs=1e-3)


@pytest.mark.parametrize("strengths", [EVERYTHING, VIEWS_AND_MIXING, {"mixup": 0.5}, {"cutmix": 0.5}])
@pytest.mark.parametrize("side", [64, 96])
def test_computing_all_rows_as_on_a_gpu_gives_the_same_bits(strengths, side, monkeypatch):
    tiles, labels = images(40), torch.arange(40) % 2 * 1.0
    expected, _ = run(tiles, labels, side=side, **strengths)
    monkeypatch.setattr(changes, "_rows", lambda chosen: torch.arange(len(chosen)))
    monkeypatch.setattr(changes, "_apply_views", changes._apply_views_without_lists)
    got, _ = run(tiles, labels, side=side, **strengths)
    assert torch.equal(got[0], expected[0]) and torch.equal(got[1], expected[1])
    assert torch.equal(got[0].signbit(), expected[0].signbit())


@pytest.mark.parametrize(
    "strengths", [EVERYTHING, VIEWS_AND_MIXING, {"flips": True}, {"flips": True, "hue": 0.1}, {"noise": 5.0}]
)
def test_a_plan_is_one_copy_to_the_device_and_the_host_never_waits(strengths):
    operations_of_seeds = set()
    changes.noise_table(META, noise_values(64))  # copied once per process
    for seed in (1, 2):
        planned = plan(strengths_of(**strengths), side=64, mean=MEAN, std=STD, seed=seed, epoch=1, start=0, count=40)
        tiles, labels = torch.empty((40, 96, 96, 3), dtype=torch.uint8, device=META), torch.empty(40, device=META)
        with Operations() as operations:
            got, mixed = apply(planned, tiles, labels)
        assert got.shape == (40, 3, 64, 64) and mixed.shape == (40,) and got.device == mixed.device == META
        assert operations.copies() == ["_to_copy"] and operations.waits() == set()
        operations_of_seeds.add(tuple(name for name, _ in operations.found))
    assert len(operations_of_seeds) == 1  # the same operations whichever tiles are chosen


def test_labels_of_several_classes_are_mixed_like_labels_of_two():
    tiles, labels = images(60), torch.arange(60) % 2 * 1.0
    (_, expected), _ = run(tiles, labels, mixup=0.4, cutmix=0.4)
    both = torch.stack([1 - labels, labels], dim=1)
    (_, found), _ = run(tiles, both, mixup=0.4, cutmix=0.4)
    assert (expected != labels).sum() > 10
    torch.testing.assert_close(found, torch.stack([1 - expected, expected], dim=1))
