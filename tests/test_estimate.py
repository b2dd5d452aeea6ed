"""The estimate of a full run: times from measured speeds, and the table that is printed."""

import pytest

from histo.estimate import Planned, Speed, as_text, complete, makespan, measured_stages, network_stages

FOLDS = {0: 100, 1: 200, 2: 300}
SPEED = Speed(
    start=5, training=10, prediction=50, invariant=False, memory=1_200_000_000, device="CPU, 1 thread", at_once=2
)


@pytest.mark.parametrize(
    ("jobs", "slots", "expected"),
    [
        ([(3, 1), (3, 1), (3, 1)], 2, 6),
        ([(5, 1), (1, 1), (1, 1), (1, 1)], 2, 5),
        ([(4, 1), (2, 2), (1, 1)], 2, 7),  # the second waits for both slots
        ([(4, 1)], 8, 4),
    ],
)
def test_jobs_share_the_slots(jobs, slots, expected):
    assert makespan(jobs, slots) == expected


def stages(planned, speeds, slots=1, views=8):
    rows = network_stages(planned, speeds, slots=slots, folds=FOLDS, test=400, views=views)
    return {row["stage"]: (row["jobs"], row["at_once"], pytest.approx(row["seconds"])) for row in rows}


def test_the_networks_of_a_model():
    # Per fold: 3 epochs of the other folds at 10 tiles/s and of its own at 50; 8 views of its tiles and 400 others.
    training = [5 + 3 * (training / 10 + held_out / 50) for training, held_out in ((500, 100), (400, 200), (300, 300))]
    prediction = [5 + 8 * (held_out + 400) / 50 for held_out in (100, 200, 300)]
    names = ["fold-0", "fold-1", "fold-2"]
    planned = {"wide": Planned(epochs=3, networks=names, on_test_tiles=names)}
    assert stages(planned, {"wide": SPEED}) == {"train": (3, 1, sum(training)), "predict": (3, 1, sum(prediction))}
    assert stages(planned, {"wide": SPEED}, slots=3) == {
        "train": (3, 3, max(training)),
        "predict": (3, 3, max(prediction)),
    }


def test_networks_of_all_tiles_invariant_networks_and_pseudo_labels():
    invariant = Speed(**vars(SPEED) | {"invariant": True})
    planned = {"p4m": Planned(epochs=2, networks=["full-0"], on_test_tiles=["full-0"], added=400)}
    assert stages(planned, {"p4m": invariant}) == {
        "train": (1, 1, 5 + 2 * (600 + 400) / 10),  # nothing to validate
        "predict": (1, 1, 5 + 400 / 50),  # one view, test tiles alone
    }


def test_only_networks_that_are_submitted_or_teach_predict_the_test_tiles():
    planned = {"wide": Planned(epochs=1, networks=["fold-1", "stain-1", "full-0"], on_test_tiles=["full-0"])}
    predicted = [8 * 200, 8 * 200, 8 * 400]
    assert stages(planned, {"wide": SPEED})["predict"] == (3, 1, sum(5 + views / 50 for views in predicted))


def test_a_search_trains_without_predictions():
    planned = {"search rates": Planned(epochs=1, networks=["fold-0", "fold-2"], on_test_tiles=[], slots=2, trials=4)}
    trial = 5 + (500 / 10 + 100 / 50) + (300 / 10 + 300 / 50)
    assert stages(planned, {"search rates": SPEED}, slots=4) == {"search_trial": (4, 2, 2 * trial)}


def test_finished_stages_take_what_they_took():
    rows = [
        {"stage": "unzip", "jobs": 4, "seconds": 40.0, "longest": 25.0},
        {"stage": "pack", "jobs": 4, "seconds": 40.0, "longest": 25.0},
        {"stage": "report", "jobs": 1, "seconds": 9.0, "longest": 9.0},
    ]
    found = measured_stages(rows, {"unzip": 1, "pack": 8})
    assert [(row["stage"], row["jobs"], row["at_once"], row["seconds"]) for row in found] == [
        ("unzip", 4, 1, 40.0),
        ("pack", 4, 4, 25.0),  # not shorter than its longest job
    ]


def test_the_table():
    measured = measured_stages([{"stage": "pack", "jobs": 2, "seconds": 90.0, "longest": 50.0}], {"pack": 2})
    planned = {"wide": Planned(epochs=3, networks=["fold-0"], on_test_tiles=["fold-0"])}
    times = complete(
        measured=measured, planned=planned, speeds={"wide": SPEED}, slots=2, folds=FOLDS, test=400, views=1
    )
    # 5 + 3 · (500 / 10 + 100 / 50) and 5 + 500 / 50 seconds, and 50 that `pack` took
    assert (times["seconds_left"], times["seconds"]) == (161 + 15, 161 + 15 + 50)
    text = as_text(
        {
            "machine": "a machine",
            "cores": 2,
            "small_network": {"auc": 0.91234, "epochs": 4, "training_tiles": 1000, "validation_tiles": 1100},
            "memory_mb": {"train": 14727, "predict": 11883},
            "disk": {"shards": 7_900_000_000},
            "free": 10**11,
            **times,
        }
    )
    assert "AUC of the sketch's own network: 0.9123 on 1,100 tiles, after 4 epochs of 1,000 others\n" in text
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert rows[2:5] == [
        ["pack", "2", "2", "50.0 s", "measured"],
        ["train", "1", "1", "2 min 41 s", "estimated"],
        ["predict", "1", "1", "15.0 s", "estimated"],
    ]
    assert "Time left: about 2 min 56 s; the whole run from the archive: about 3 min 46 s;" in text
    assert rows[-1] == ["wide", "3", "10.0 tiles/s", "50.0 views/s", "1.20 GB", "CPU, 1 thread"]
    assert "Memory that a job requests: train 14727 MB, predict 11883 MB\n" in text
    assert "Disk: shards 7.90 GB; 100.00 GB are free\n" in text
