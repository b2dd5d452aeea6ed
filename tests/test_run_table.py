"""The table of finished runs that `make runs` prints."""

import os

import pytest

from histo import run_table
from histo.errors import InputError
from histo.files import write_json


def write_run(folder, auc, moment, **files):
    """Write what the table reads of a run that ended at `moment`, seconds since 1970."""
    scores = {"auc": auc, "auc_low": auc - 0.01, "auc_high": auc + 0.01}
    write_json(folder / "ensemble.json", {"models": ["a", "b"]} | scores)
    for name, value in files.items():
        write_json(folder / f"{name.replace('_', '-')}.json", value)
    os.utime(folder / "ensemble.json", (moment, moment))


def test_finished_runs_with_their_scores(tmp_path, monkeypatch, capsys):
    score = {"public": 0.95, "private": None}
    write_run(tmp_path / "kaggle/runs/wide", 0.97, 2e9, submission={}, submission_score=score)
    write_run(tmp_path / "kaggle", 0.96, 1e9)
    write_run(tmp_path / "demo", 0.9, 1.5e9, submission={"truth": {"auc": 0.91234}})
    (tmp_path / "kaggle/runs/unfinished").mkdir()
    monkeypatch.setattr("sys.argv", ["runs", str(tmp_path)])
    run_table.main()
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert table[0][0] == "run"
    # without the date and the time, which depend on the time zone
    assert [[row[0], *row[3:]] for row in table[1:]] == [
        ["kaggle", "a+b", "0.9600", "0.9500-0.9700", "-", "-", "-"],
        ["demo", "a+b", "0.9000", "0.8900-0.9100", "0.9123", "-", "-"],
        ["kaggle/runs/wide", "a+b", "0.9700", "0.9600-0.9800", "-", "0.9500", "-"],
    ]


def test_no_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["runs", str(tmp_path / "none")])
    run_table.main()
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_damaged_file_is_named(tmp_path):
    write_run(tmp_path / "demo", 0.9, 1e9)
    write_json(tmp_path / "demo/ensemble.json", {"models": []})
    with pytest.raises(InputError, match=r"ensemble\.json: expected the key 'auc'"):
        run_table.finished_runs(tmp_path)
