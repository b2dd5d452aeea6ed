"""Curves in TensorBoard's format: points, resuming, starting anew."""

import pytest

from histo.progress.curves import Curves
from support.curves import events, read_curves


def write(folder, done, steps):
    curves = Curves(folder, done)
    for step in steps:
        curves.add(step, {"loss": 1 / step})
    curves.close()


def test_points(tmp_path):
    write(tmp_path, 0, [1, 2, 4])
    assert read_curves(tmp_path) == {"loss": [(1, 1.0), (2, 0.5), (4, 0.25)]}
    (path,) = tmp_path.iterdir()
    first, *others = events(path)
    assert first.file_version == "brain.Event:2"
    assert [event.step for event in others] == [1, 2, 4]
    assert first.wall_time > 1.7e9


def test_a_resumed_run_continues_without_duplicates(tmp_path):
    write(tmp_path, 0, [1, 2, 3, 4])  # killed after step 4, saved after step 2
    write(tmp_path, 2, [3, 4, 5])
    write(tmp_path, 5, [6])
    assert len(list(tmp_path.iterdir())) == 3
    points = read_curves(tmp_path)["loss"]
    assert [step for step, _ in points] == [1, 2, 3, 4, 5, 6]
    assert [value for _, value in points] == pytest.approx([1 / step for step in range(1, 7)])


def test_a_run_from_the_beginning_removes_the_curves_of_earlier_runs(tmp_path):
    write(tmp_path, 0, [1, 2])
    write(tmp_path, 2, [3])
    (tmp_path / "history.csv").touch()
    write(tmp_path, 0, [7])
    assert read_curves(tmp_path) == {"loss": [(7, pytest.approx(1 / 7))]}
    assert len(list(tmp_path.iterdir())) == 2


def test_points_can_be_read_while_the_run_goes_on(tmp_path):
    curves = Curves(tmp_path, 0)
    curves.add(1, {"loss": 2.0})
    curves.flush()
    assert read_curves(tmp_path) == {"loss": [(1, 2.0)]}
