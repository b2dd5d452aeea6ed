"""A student trains on the test tiles with the probabilities of its teacher's networks."""

import numpy as np
import pytest

from histo.files import read_json
from histo.training import checkpoints
from support.archives import Archive
from support.chain import DATASET, job_counts, snakemake, training_inputs

STUDENT = "models={student: {pseudo_labels: [tiny], network: {width: 8, blocks: 1}, epochs: 1, batch_size: 8}}"


def teachers_of(done):
    """Return the predictions that each network of the student reads, from the jobs that a dry run prints."""
    return training_inputs(done, "student", r"predict/(\w+/[\w-]+)/test\.parquet")


def settings(tmp_path, *more):
    Archive(np.random.default_rng(9), train=40, test=10).write(tmp_path / "archive.zip")
    return [DATASET, STUDENT, *more]


def test_a_network_of_a_fold_learns_from_the_networks_of_the_same_fold(tmp_path):
    submitted = ("submission={models: [student], full_networks: 1}", "folds={count: 2, also_by_stain: true}")
    done = snakemake(tmp_path, "submission", *settings(tmp_path, *submitted), "--dry-run")
    assert done.returncode == 0, done.stderr
    names = ["fold-0", "fold-1", "full-0", "stain-0", "stain-1"]
    assert teachers_of(done) == {name: [f"tiny/{name}"] for name in names}
    # All networks of the teacher predict the test tiles, of the student only that of all tiles.
    counts = job_counts(done)
    assert (counts["predict"], counts["predict_oof"], counts["predict_full"]) == (4, 4, 2)


def test_unknown_teachers_and_students_of_students_are_refused(tmp_path):
    done = snakemake(tmp_path, "submission", *settings(tmp_path), "models={student: {pseudo_labels: [nobody]}}")
    assert done.returncode != 0
    assert "models.student.pseudo_labels: 'nobody' is none of the models. Known: " in done.stderr
    done = snakemake(
        tmp_path, "submission", *settings(tmp_path),
        "models={student: {pseudo_labels: [tiny]}, second: {pseudo_labels: [student]}}",
    )  # fmt: skip
    assert done.returncode != 0
    assert "models.second.pseudo_labels: 'student' has pseudo_labels itself; name a model without." in done.stderr


@pytest.mark.slow
def test_a_student_trains_on_training_and_test_tiles(tiny_copy):
    done = snakemake(tiny_copy, "submission", DATASET, STUDENT, "submission={models: [student]}")
    assert done.returncode == 0, done.stderr
    assert job_counts(done)["train"] == 2
    for fold in range(2):
        loaded = checkpoints.load(tiny_copy / f"results/small/train/student/fold-{fold}/weights.pt")
        assert sum(loaded["tiles"].values()) == 50 and loaded["tiles"]["training"] >= 30 - 1
    # Of rules that need each other, the report draws what came first.
    rules = read_json(tiny_copy / "results/small/run.json")["rules"]
    assert "train" in rules["predict"] and "predict" not in rules["train"]
