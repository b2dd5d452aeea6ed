"""The slice of a batch that a process computes: tiles and labels of the whole batch, augmented as in one process."""

import numpy as np
import pytest
import torch

from histo.augmentation.changes import apply
from histo.augmentation.plans import Plans
from histo.config.train import Augmentation
from histo.errors import InputError
from histo.training.processes import Processes
from histo.training.slices import Slice, joined
from support.training import ALL_AUGMENTATIONS, images

MIXED = {"shift": 4, "hue": 0.02, "erase": 0.5, "mixup": 0.5, "cutmix": 0.5}


def plans(**changes):
    values = np.array([0.5, 0.5, 0.5])
    return Plans(
        Augmentation(**changes), side=64, mean=values, std=values / 2, seed=1, epoch=1, batch_size=15
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 2, 4])
def test_rows_cover_the_batch_once(count):
    rows = [Processes(rank, count).rows(15) for rank in range(count)]
    assert [row for part in rows for row in range(15)[part]] == list(range(15))
    assert Processes(0, count).shares(15) == [(part.stop - part.start) / 15 for part in rows]
    assert max(part.stop - part.start for part in rows) - min(part.stop - part.start for part in rows) <= 1


def test_several_processes_on_mps_are_refused():
    with (
        pytest.raises(InputError, match="expected one process on Apple's MPS, found 2"),
        Processes(0, 2).connected(torch.device("mps")),
    ):
        pass


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("changes", [ALL_AUGMENTATIONS, MIXED, {}], ids=["all", "mixed", "default"])
def test_slices_are_those_of_the_augmented_batch(count, changes):
    tiles, labels = torch.from_numpy(images(15)), torch.arange(15) % 2 * 1.0
    planned = plans(**changes)
    for step in range(2):
        whole, whole_labels = apply(planned.batch(step), tiles.clone(), labels.clone())
        for rank in range(count):
            rows = Processes(rank, count).rows(15)
            part = Slice(rows, 15)
            chosen = part.positions(np.arange(15))
            found, found_labels = part.own(
                *apply(part.plan(planned.batch(step)), tiles[chosen], labels[chosen])
            )  # fmt: skip
            assert torch.allclose(found.float(), whole[rows].float(), atol=1e-5)
            assert torch.equal(found_labels, whole_labels[rows])


def test_a_plan_put_together_is_the_plan():
    plan = plans(**ALL_AUGMENTATIONS).batch(0)
    again = joined(plan.part(0, 6), plan.part(6, 15), 6)
    tiles, labels = torch.from_numpy(images(15)), torch.arange(15) % 2 * 1.0
    expected = apply(plan, tiles.clone(), labels.clone())
    assert all(map(torch.equal, apply(again, tiles, labels), expected))
