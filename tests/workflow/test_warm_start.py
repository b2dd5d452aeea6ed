"""A model that starts from the trained weights of another one: each network from that of the same fold."""

import numpy as np
import pytest
import torch

from histo.training import checkpoints
from support.archives import Archive
from support.chain import DATASET, job_counts, snakemake, training_inputs

MORE = "models={more: {warm_start: tiny, network: {width: 8, blocks: 1}, center_crop: 32, epochs: 1, batch_size: 8, \
precision: float32, learning_rate: 1.0e-30, weight_decay: 0}}"


def sources_of(done):
    """Return the weights that each network of the model starts from, from the jobs that a dry run prints."""
    return training_inputs(done, "more", r"train/(\w+/[\w-]+)/weights\.pt")


def test_a_network_starts_from_the_network_of_the_same_fold(tmp_path):
    Archive(np.random.default_rng(9), train=40, test=10).write(tmp_path / "archive.zip")
    chosen = ("submission={models: [more], full_networks: 1}", "folds={also_by_stain: true}")
    done = snakemake(tmp_path, "submission", DATASET, MORE, *chosen, "--dry-run")
    assert done.returncode == 0, done.stderr
    names = ("fold-0", "fold-1", "stain-0", "stain-1", "full-0")
    assert sources_of(done) == {name: [f"tiny/{name}"] for name in names}
    assert job_counts(done)["train"] == 2 * len(names)
    assert "Not trained" not in done.stderr


@pytest.mark.slow
def test_it_starts_with_the_weights_of_that_network_and_trains_again_when_they_change(tiny_copy):
    targets = ("submission={models: [more]}", "--until", "train")
    done = snakemake(tiny_copy, "submission", DATASET, MORE, *targets)
    assert done.returncode == 0, done.stderr
    assert job_counts(done)["train"] == 2
    for fold in range(2):
        first, second = (
            dict(checkpoints.load_network(checkpoints.load(path)).named_parameters())
            for path in (tiny_copy / f"results/small/train/{name}/fold-{fold}/weights.pt" for name in ("tiny", "more"))
        )
        assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert "train" not in job_counts(snakemake(tiny_copy, "submission", DATASET, MORE, *targets, "--dry-run"))
    changed = MORE.replace("{more:", "{tiny: {seed: 7}, more:")
    again = snakemake(tiny_copy, "submission", DATASET, changed, *targets, "--dry-run")
    assert job_counts(again)["train"] == 4
