"""A finished run, applied to tiles of its own archive."""

import numpy as np
import pandas as pd
import pytest

from support.archives import Archive
from support.chain import job_counts, snakemake


@pytest.mark.slow
def test_test_tiles_get_the_probabilities_of_the_submission(tmp_path):
    archive = Archive(np.random.default_rng(7), train=40, test=10).write(tmp_path / "archive.zip")
    dataset = f"dataset={{name: small, source: archive, archive: {archive}}}"
    apply = f"apply={{model: tiny, tiles: {archive}/test, out: predictions.csv}}"
    done = snakemake(tmp_path, "submission", dataset)
    assert done.returncode == 0, done.stderr
    # With the threads of the model: more would round sums differently.
    done = snakemake(tmp_path, "apply", dataset, apply, "--set-threads", "apply=1")
    assert done.returncode == 0, done.stderr
    assert job_counts(done) == {"apply": 1}
    found = pd.read_csv(tmp_path / "predictions.csv").set_index("id")
    submission = pd.read_csv(tmp_path / "results/small/submission.csv").set_index("id")["label"]
    assert found.loc[submission.index, "probability"].tolist() == submission.tolist()
    assert len(found) == 10 and submission.nunique() == 10
    again = snakemake(tmp_path, "submission", dataset, apply, "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr
    done = snakemake(tmp_path, "apply", dataset)
    assert done.returncode == 1
    assert "The configuration has no section `apply`, which names the model and the tiles." in done.stderr
