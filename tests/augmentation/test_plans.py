"""Plans: random numbers that depend on the position only, whatever the batch."""

import numpy as np
import pytest

from histo.augmentation import plans
from histo.augmentation.plans import draw, noise_values
from histo.geometry import Geometry
from support.augmentation import MEAN, STD, assert_equal, run, strengths_of
from support.training import EVERYTHING, images


def test_random_numbers_depend_only_on_seed_epoch_and_position():
    numbers = draw(7, 3, 0, 50)
    assert np.array_equal(numbers[20:32], draw(7, 3, 20, 12))
    assert not np.array_equal(numbers, draw(7, 4, 0, 50))
    assert not np.array_equal(numbers, draw(8, 3, 0, 50))
    assert numbers.min() >= 0 and numbers.max() < 1 and abs(numbers.mean() - 0.5) < 0.03


@pytest.mark.parametrize("strengths", [EVERYTHING, {"flips": True}, {"erase": 0.05, "mixup": 0.03, "cutmix": 0.03}])
@pytest.mark.parametrize(("batch_size", "steps"), [(7, 300), (16, 130), (1000, 5), (3000, 2)])
def test_plans_of_a_block_are_those_of_its_batches(strengths, batch_size, steps, monkeypatch):
    drawn, plan = [], plans.plan
    same = {"side": 64, "mean": MEAN, "std": STD, "seed": 4, "epoch": 9}
    expected = [
        plan(strengths_of(**strengths), start=step * batch_size, count=batch_size, **same) for step in range(steps)
    ]
    monkeypatch.setattr(plans, "plan", lambda *a, **k: drawn.append(k["count"]) or plan(*a, **k))
    planned = plans.Plans(strengths_of(**strengths), batch_size=batch_size, **same)
    for step in range(steps):
        assert_equal(planned.batch(step), expected[step])
    assert (
        len(drawn) == -(-steps // max(1, 2048 // batch_size)) and max(drawn) == max(2048 // batch_size, 1) * batch_size
    )
    resumed = plans.Plans(strengths_of(**strengths), batch_size=batch_size, **same)
    assert_equal(resumed.batch(steps - 1), expected[-1])


def test_probability_concerns_no_other_change():
    strengths = {"flips": True, "shift": 4, "erase": 0.3, "mixup": 0.3, "cutmix": 0.3}
    assert_equal(run(images(40), probability=0.0, **strengths)[1], run(images(40), **strengths)[1])


def plan_of(geometry, side, **strengths):
    return plans.plan(
        strengths_of(**strengths), side=side, mean=MEAN, std=STD, seed=1, epoch=1, start=0, count=200, geometry=geometry
    )


def test_rectangles_and_shifts_follow_the_geometry_of_the_tiles():
    plan = plan_of(Geometry(tile_side=64, centre_side=16), 32, shift=4, erase=1.0, cutmix=1.0)
    erased = plan.erase.box
    assert ((erased[:, [0, 2]] >= 0) & (erased[:, [1, 3]] <= 32)).all()
    # No erased rectangle reaches the central 16 of 32 pixels; some reach the central 32, which is the whole input.
    assert not ((erased[:, 0] < 24) & (erased[:, 1] > 8) & (erased[:, 2] < 24) & (erased[:, 3] > 8)).any()
    over = plan.cutmix.box[plan.covers_centre]
    assert len(over) > 50 and ((over[:, [0, 2]] <= 8) & (over[:, [1, 3]] >= 24)).all()
    assert 0.95 < np.abs(plan.theta[:, :, 2].numpy()).max() / (4 * 2 / 64) <= 1
    assert plan_of(Geometry(tile_side=64), 32, erase=1.0).erase is None  # the input is the centre


@pytest.mark.parametrize("side", [96, 512])
def test_noise_is_long_enough_for_tiles_of_any_side(side):
    start = plan_of(Geometry(tile_side=side), side, noise=5.0).noise_start
    assert start.min() >= 0 and start.max() <= noise_values(side) - 3 * side**2
    assert np.ptp(start) > 200_000
    assert start.max() < 2**24  # exact as float32
