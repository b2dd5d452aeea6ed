"""Plans: random numbers that depend on the position only, whatever the batch."""

import numpy as np
import pytest

from histo.augmentation import plans
from histo.augmentation.plans import draw
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
