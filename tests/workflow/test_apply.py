"""A finished run, applied to tiles of its own archive."""

import pandas as pd
import pytest

from support.chain import DATASET, job_counts, snakemake


@pytest.mark.slow
def test_test_tiles_get_the_probabilities_of_the_submission(tiny_copy):
    apply = f"apply={{model: tiny, tiles: {tiny_copy}/archive.zip/test, out: predictions.csv}}"
    # With the threads of the model: more would round sums differently.
    done = snakemake(tiny_copy, "apply", DATASET, apply, "--set-threads", "apply=1")
    assert done.returncode == 0, done.stderr
    assert job_counts(done) == {"apply": 1}
    found = pd.read_csv(tiny_copy / "predictions.csv").set_index("id")
    submission = pd.read_csv(tiny_copy / "results/small/submission.csv").set_index("id")["label"]
    assert found.loc[submission.index, "probability"].tolist() == submission.tolist()
    assert len(found) == 10 and submission.nunique() == 10
    again = snakemake(tiny_copy, "submission", DATASET, apply, "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr
    done = snakemake(tiny_copy, "apply", DATASET)
    assert done.returncode == 1
    assert "The configuration has no section `apply`, which names the model and the tiles." in done.stderr
