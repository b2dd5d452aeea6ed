"""Networks that are trained on all tiles predict the test tiles; those of the folds give the out-of-fold AUC."""

import numpy as np
import pandas as pd
import pytest

from histo.training import checkpoints
from support.chain import DATASET, job_counts, snakemake


@pytest.mark.slow
def test_the_submission_is_the_mean_of_the_networks_trained_on_all_tiles(tiny_copy):
    done = snakemake(tiny_copy, "submission", DATASET, "submission={models: [tiny], full_networks: 3}")
    assert done.returncode == 0, done.stderr
    jobs = job_counts(done)
    assert (jobs["train"], jobs["predict_full"]) == (3, 3)
    assert not jobs.keys() & {"predict", "evaluate"}  # of the networks of the folds
    folder = tiny_copy / "results/small"
    loaded = [checkpoints.load(folder / f"train/tiny/full-{k}/weights.pt") for k in range(3)]
    assert [(one["fold"], one["tiles"], one["settings"]["seed"]) for one in loaded] == [
        (-1, {"training": 40, "validation": 0}, 1 + k) for k in range(3)
    ]
    tables = [pd.read_parquet(folder / f"predict/tiny/full-{k}/test.parquet").set_index("id") for k in range(3)]
    submission = pd.read_csv(folder / "submission.csv").set_index("id")["label"]
    mean = sum(table["probability"] for table in tables) / 3
    assert len(submission) == 10 and tables[0]["probability"].std() > 0
    np.testing.assert_allclose(submission.sort_index(), mean.sort_index(), rtol=1e-6)
    # New networks of folds predict the tiles of their fold alone, the test tiles of networks of all tiles.
    other = ("models={other: {seed: 8}}", "submission={models: [other], full_networks: 1}")
    done = snakemake(tiny_copy, "submission", DATASET, *other)
    assert done.returncode == 0, done.stderr
    jobs = job_counts(done)
    assert (jobs["train"], jobs["predict_oof"], jobs["predict_full"]) == (3, 2, 1)
    assert "predict" not in jobs
    assert [path.parent.name for path in folder.glob("predict/other/*/test.parquet")] == ["full-0"]
    # The networks of the folds are as before: only the submission and what follows from it runs again.
    done = snakemake(tiny_copy, "submission", DATASET, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert not job_counts(done).keys() & {"train", "predict", "evaluate"}
