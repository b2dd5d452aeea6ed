"""Networks that are trained on all tiles predict the test tiles; those of the folds give the out-of-fold AUC."""

import numpy as np
import pandas as pd
import pytest

from histo.training import checkpoints
from support.archives import Archive
from support.chain import job_counts, snakemake


@pytest.mark.slow
def test_the_submission_is_the_mean_of_the_networks_trained_on_all_tiles(tmp_path):
    Archive(np.random.default_rng(7), train=40, test=10).write(tmp_path / "archive.zip")
    settings = [f"dataset={{name: small, source: archive, archive: {tmp_path / 'archive.zip'}}}"]
    done = snakemake(tmp_path, "submission", *settings, "submission={models: [tiny], full_networks: 3}")
    assert done.returncode == 0, done.stderr
    assert {name: job_counts(done)[name] for name in ("train", "predict", "predict_full")} == {
        "train": 5, "predict": 2, "predict_full": 3,
    }  # fmt: skip
    folder = tmp_path / "results/small"
    loaded = [checkpoints.load(folder / f"train/tiny/full-{k}/weights.pt") for k in range(3)]
    assert [(one["fold"], one["tiles"], one["settings"]["seed"]) for one in loaded] == [
        (-1, {"training": 40, "validation": 0}, 1 + k) for k in range(3)
    ]
    tables = [pd.read_parquet(folder / f"predict/tiny/full-{k}/test.parquet").set_index("id") for k in range(3)]
    submission = pd.read_csv(folder / "submission.csv").set_index("id")["label"]
    mean = sum(table["probability"] for table in tables) / 3
    assert len(submission) == 10 and tables[0]["probability"].std() > 0
    np.testing.assert_allclose(submission.sort_index(), mean.sort_index(), rtol=1e-6)
    # The networks of the folds are as before: only the submission and what follows from it runs again.
    done = snakemake(tmp_path, "submission", *settings, "submission={models: [tiny]}")
    assert done.returncode == 0, done.stderr
    assert not job_counts(done).keys() & {"train", "predict", "evaluate"}
