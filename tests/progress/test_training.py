"""Lines and curves of a training run, with a clock that the tests set."""

import logging

import pytest

from histo.progress import training as module
from histo.progress.training import TrainingDisplay, run_name
from support.curves import read_curves


@pytest.fixture
def clock(monkeypatch):
    """The time in seconds, as a list of one number."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def display(curves=None, **changes):
    values = {"epochs": 3, "steps_per_epoch": 200, "batch_size": 10, "validation_tiles": 600} | changes
    return TrainingDisplay("p4m fold-1 (2/5)", curves=curves, **values)


def row(epoch, auc, seconds=25.0, speed=100.0):
    return {
        "epoch": epoch, "loss": 0.5 / epoch, "auc": auc, "validation_loss": 0.4, "seconds": seconds,
        "tiles_per_second": speed,
    }  # fmt: skip


def lines(caplog):
    return [record.message for record in caplog.records]


def test_names():
    assert run_name("p4m", 1, 5) == "p4m fold-1 (2/5)"
    assert run_name("p4m", None, 5, 2) == "p4m full-2"
    assert run_name("", 0, 3) == "fold-0 (1/3)"


def test_lines_at_intervals_and_after_epochs(clock, caplog):
    history = []
    shown = display()
    with caplog.at_level(logging.INFO):
        shown.begin(history, 0, 0)
        shown.begin_epoch(0, 0.0)
        for steps in range(1, 201):
            clock[0] += 0.2  # 50 tiles per second
            shown.step(steps, 0.7 * steps, 1e-3)
        history.append(row(1, 0.91, seconds=45.0, speed=50.0))
        shown.end_epoch(1)
        shown.begin_epoch(0, 0.0)
        clock[0] += 31
        shown.step(31, 31 * 0.25, 1e-3)
        history.append(row(2, 0.9))
        shown.end_epoch(1)
        history.append(row(3, 0.95))
        shown.end_epoch(3)
    # 450 steps of 0.2 s and 3 validations of 600 tiles, each as long as 200 training tiles: 102 s
    assert lines(caplog) == [
        "[p4m fold-1 (2/5)] epoch 1/3 step 150/200 loss 0.7000 50 tiles/s ETA 2 min",
        # 2 epochs of 40 s and 5 s of validation, the difference to the 45 s of the history
        "[p4m fold-1 (2/5)] epoch 1/3 step 200/200 loss 0.5000 AUC 0.9100 (best 0.9100, epoch 1) 50 tiles/s ETA 90 s",
        # 369 steps of a second, two validations of 5 s
        "[p4m fold-1 (2/5)] epoch 2/3 step 31/200 loss 0.2500 AUC 0.9100 (best 0.9100, epoch 1) 10 tiles/s ETA 6 min",
        "[p4m fold-1 (2/5)] epoch 2/3 step 200/200 loss 0.2500 AUC 0.9000 (best 0.9100, epoch 1) 100 tiles/s ETA 25 s",
        "[p4m fold-1 (2/5)] epoch 3/3 step 200/200 loss 0.1667 AUC 0.9500 (best 0.9500, epoch 3) 100 tiles/s",
    ]


def test_a_network_without_validation_tiles_shows_no_auc(clock, caplog):
    shown, history = display(validation_tiles=0), []
    with caplog.at_level(logging.INFO):
        shown.begin(history, 0, 0)
        history.append(row(1, float("nan"), seconds=20.0))
        shown.end_epoch(0)
    assert lines(caplog) == ["[p4m fold-1 (2/5)] epoch 1/3 step 200/200 loss 0.5000 100 tiles/s ETA 40 s"]


def test_curves(clock, tmp_path):
    """A point per step where an epoch has fewer than 100 steps; a resumed run continues after its last step."""
    history = []
    shown = display(tmp_path, steps_per_epoch=4, batch_size=10)
    shown.begin(history, 0, 0)
    shown.begin_epoch(0, 0.0)
    for steps, loss in ((1, 0.5), (2, 0.9), (4, 1.9)):
        clock[0] += 2
        shown.step(steps, loss, steps / 100)
    shown.step(4, 1.9, 0.04)  # what is drawn is not drawn again
    history.append(row(1, 0.75))
    shown.end_epoch(1)
    shown.begin_epoch(0, 0.0)
    shown.step(1, 0.3, 0.05)
    shown.close()

    shown = display(tmp_path, steps_per_epoch=4, batch_size=10)
    shown.begin([row(1, 0.75)], 1, 0)
    shown.begin_epoch(0, 0.0)
    clock[0] += 1
    shown.step(1, 0.25, 0.05)
    shown.close()

    found = read_curves(tmp_path)
    assert set(found) == {
        "train/loss", "train/learning_rate", "train/tiles_per_second", "train/loss_of_epoch", "validation/AUC",
        "validation/loss",
    }  # fmt: skip
    assert [step for step, _ in found["train/loss"]] == [1, 2, 4, 5]
    assert [value for _, value in found["train/loss"]] == pytest.approx([0.5, 0.4, 0.5, 0.25])
    assert [value for _, value in found["train/learning_rate"]] == pytest.approx([0.01, 0.02, 0.04, 0.05])
    assert found["train/tiles_per_second"] == [(1, 5.0), (2, 5.0), (4, pytest.approx(20 / 3)), (5, 10.0)]
    assert found["validation/AUC"] == [(4, 0.75)]
    assert found["train/loss_of_epoch"] == [(4, 0.5)]


def test_at_most_100_points_per_epoch(clock, tmp_path):
    shown = display(tmp_path, steps_per_epoch=1000)
    shown.begin([], 0, 0)
    shown.begin_epoch(0, 0.0)
    for steps in range(1, 1001):
        clock[0] += 1
        shown.step(steps, float(steps), 1e-3)
    shown.close()
    assert [step for step, _ in read_curves(tmp_path)["train/loss"]] == list(range(10, 1001, 10))
