"""Reproducing a run: the settings that it is repeated with, and a record that is missing."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from histo.errors import InputError
from histo.files import read_json, write_json
from reproduce import reproduce, with_absolute_paths


def test_the_users_files_are_named_by_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.zip", "start.pth", "none"):
        (tmp_path / name).touch()
    settings = {
        "dataset": {"name": "a.zip", "archive": "a.zip"},
        "folds": {"slides": "resources/small/slides.csv", "count": 2},
        "models": {"a": {"network": {"weights": "start.pth"}}, "b": {"network": {"weights": "none"}}},
        "train": {"network": {"builder": "nets/own.py:build"}},
    }
    assert with_absolute_paths(settings) == {
        "dataset": {"name": "a.zip", "archive": f"{tmp_path}/a.zip"},
        "folds": {"slides": "resources/small/slides.csv", "count": 2},
        "models": {"a": {"network": {"weights": f"{tmp_path}/start.pth"}}, "b": {"network": {"weights": "none"}}},
        "train": {"network": {"builder": f"{tmp_path}/nets/own.py:build"}},
    }


def test_without_a_record(tmp_path):
    path = tmp_path / "provenance.json"
    message = f"{path}: expected the record of a finished run, found no file. Run the workflow first."
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        reproduce(path, tmp_path / "again", snakefile=tmp_path / "Snakefile", cores=1)


RECORD = {
    "settings": {"dataset": {"name": "small", "archive": "a.zip"}}, "data": {}, "code": {}, "libraries": {},
    "machine": "AMD", "results": {"train/a/fold-0/weights.pt": "11", "submission.csv": "99"},
}  # fmt: skip


@pytest.fixture
def again(tmp_path, monkeypatch):
    """A function that reproduces RECORD with a run in the place of Snakemake's; it returns the command of that run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.zip").touch()
    path, folder = Path("results/small/provenance.json"), Path("results/small/reproduce")
    write_json(path, RECORD)
    commands = []

    def with_run(status=0, **results):
        def run(command, **options):
            commands.append(command)
            write_json(folder / path, RECORD | {"results": RECORD["results"] | results})
            return subprocess.CompletedProcess(command, status)

        monkeypatch.setattr(subprocess, "run", run)
        reproduce(path, folder, snakefile=tmp_path / "Snakefile", cores=3)
        return commands[-1]

    return with_run


def test_the_run_has_the_recorded_settings_and_an_empty_folder(again, tmp_path):
    folder = tmp_path / "results/small/reproduce"
    folder.mkdir()
    (folder / "old").touch()
    command = again()
    assert command[2:6] == ["snakemake", "results/small/provenance.json", "--cores", "3"]
    settings = command[command.index("--configfile") + 1]
    assert yaml.safe_load(Path(settings).read_text()) == {"dataset": {"name": "small", "archive": f"{tmp_path}/a.zip"}}
    assert not (folder / "old").exists() and (folder / "resources").readlink() == tmp_path / "resources"
    assert read_json(tmp_path / "results/small/provenance.json") == RECORD


def test_another_result_is_an_error(again):
    message = "results/small/reproduce/results/small/provenance.json: submission.csv: expected SHA-256 99, found 98."
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        again(**{"submission.csv": "98"})


def test_a_run_that_fails(again):
    with pytest.raises(InputError, match=r"^results/small/reproduce: the run ended with exit status 1; its errors"):
        again(status=1)
