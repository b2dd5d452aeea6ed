"""The time that trainings still need, with a clock that the tests set."""

import pytest

from histo.progress import remaining as module
from histo.progress.remaining import Training, Trainings, eta, measured


@pytest.fixture
def clock(monkeypatch):
    """The time in seconds, as a list of one number."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def write(tmp_path):
    """A function that writes the history of a training with the seconds of its epochs."""

    def write(name, *seconds):
        (tmp_path / name).write_text("epoch,seconds\n" + "".join(f"{k + 1},{s}\n" for k, s in enumerate(seconds)))

    return write


EPOCHS = {"small": 2, "large": 10}
TILES = {0: 100, 1: 100, 2: 200}


def trainings(folder, *names):
    """Trainings named as "small-0", by these names; full: on all tiles."""
    jobs = {}
    for name in names:
        model, _, fold = name.partition("-")
        jobs[name] = Training(model, None if fold == "full" else int(fold), folder / name)
    return Trainings(jobs, EPOCHS.__getitem__, lambda: TILES)


def test_by_epochs_and_tiles_not_by_jobs(tmp_path, clock, write):
    """Of 300 tiles, 2 epochs take 60 s: 0.1 s per tile and epoch."""
    run = trainings(tmp_path, "small-0", "small-2", "large-0", "large-full")
    run.start("small-0")
    clock[0] += 60
    write("small-0", 30, 30)
    # small-2: 2 epochs of 200 tiles; large-0: 10 of 300; large-full: 10 of 400; 40 + 300 + 400 s
    assert run.finish("small-0") == "trainings 1 of 4 done, about 12 min left"


def test_each_model_has_its_own_speed(tmp_path, clock, write):
    run = trainings(tmp_path, "small-0", "small-1", "large-0", "large-1")
    for name, seconds in (("small-0", [3] * 2), ("large-0", [60] * 10)):
        run.start(name)
        clock[0] += sum(seconds)
        write(name, *seconds)
        text = run.finish(name)
    assert text == "trainings 2 of 4 done, about 10 min left"  # 606 s; by jobs too, but not after the next one
    run.start("large-1")
    clock[0] += 600
    write("large-1", *[60] * 10)
    assert run.finish("large-1") == "trainings 3 of 4 done, about 6 s left"
    run.start("small-1")
    write("small-1", 3, 3)
    assert run.finish("small-1") == "trainings 4 of 4 done"


def test_trainings_at_a_time(tmp_path, clock, write):
    """Two at a time take half as long; what a running one has done counts."""
    run = trainings(tmp_path, *(f"large-{fold}" for fold in (0, 1)), "large-full")
    run.start("large-0")
    run.start("large-1")
    clock[0] += 600
    write("large-0", *[60] * 10)
    write("large-1", *[60] * 9)
    # 1 epoch of 60 s and 10 epochs of 80 s, at 1140 s of training in 600 s
    assert run.finish("large-0") == f"trainings 1 of 3 done, about {round(860 * 600 / 1140 / 60)} min left"


def test_a_resumed_training_was_not_fast(tmp_path, clock, write):
    """Its history holds the seconds of an earlier run."""
    run = trainings(tmp_path, "large-0", "large-1")
    run.start("large-0")
    clock[0] += 60
    write("large-0", *[60] * 10)
    assert run.finish("large-0") == "trainings 1 of 2 done, about 10 min left"


def test_time_between_trainings_counts(tmp_path, clock, write):
    run = trainings(tmp_path, "large-0", "large-1", "large-2")
    for name in ("large-0", "large-1"):
        run.start(name)
        clock[0] += 600
        write(name, *[60] * 10)
        clock[0] += 600  # other jobs, and waiting
        text = run.finish(name)
    # large-2: 10 epochs of 200 tiles, 400 s of training, twice as long by the clock
    assert text == "trainings 2 of 3 done, about 13 min left"


def test_other_jobs_and_no_history(tmp_path, clock):
    run = trainings(tmp_path, "small-0", "small-1")
    run.start("pack")
    assert run.finish("pack") is None
    run.start("small-0")
    assert run.finish("small-0") == "trainings 1 of 2 done"
    assert measured(tmp_path / "none.csv") == (0, 0.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99.4, "99 s"), (100, "2 min"), (2460, "41 min"), (5950, "99 min"), (12000, "3 h 20 min")],
)
def test_time_left(seconds, text):
    assert eta(seconds) == text
