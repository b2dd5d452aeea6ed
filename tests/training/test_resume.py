"""The resume file and the interval between saves; test_loop.py tests resumed runs."""

import types

import pytest
import torch

from histo.errors import InputError
from histo.training import resume
from histo.training.resume import ResumeFile


def test_save_interval_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("HISTO_SAVE_SECONDS", raising=False)
    assert resume.interval() == 300
    monkeypatch.setenv("HISTO_SAVE_SECONDS", "0.5")
    assert resume.interval() == 0.5
    monkeypatch.setenv("HISTO_SAVE_SECONDS", "often")
    with pytest.raises(InputError, match="HISTO_SAVE_SECONDS: expected a number of seconds, found 'often'"):
        resume.interval()


def test_the_saved_state_is_loaded_by_an_identical_run_only(tmp_path, caplog):
    path, identity = tmp_path / "resume.pt", {"fold": 1, "code": {"train.py": "a"}}
    assert ResumeFile(path, identity).load() is None and caplog.text == ""
    ResumeFile(path, identity).save({"step": 7, "weights": torch.arange(3)})
    state = ResumeFile(path, identity).load()
    assert state["step"] == 7 and torch.equal(state["weights"], torch.arange(3))
    assert ResumeFile(path, identity | {"fold": 2, "code": {}}).load() is None
    assert "resume.pt: from a run with different fold, code. The run starts from the beginning." in caplog.text
    path.write_bytes(path.read_bytes()[:100])
    assert ResumeFile(path, identity).load() is None
    assert "resume.pt: not readable" in caplog.text


def test_a_save_is_due_after_the_interval(tmp_path, monkeypatch):
    monkeypatch.setenv("HISTO_SAVE_SECONDS", "60")
    seconds = [0.0]
    monkeypatch.setattr(resume, "time", types.SimpleNamespace(monotonic=lambda: seconds[0]))
    file = ResumeFile(tmp_path / "resume.pt", {})
    assert not file.due()
    seconds[0] = 60.5
    assert file.due()
    file.save({})
    assert not file.due()


def test_remove_deletes_the_file_and_those_of_killed_saves(tmp_path):
    file = ResumeFile(tmp_path / "resume.pt", {})
    file.save({})
    (tmp_path / ".resume.123.part.pt").write_bytes(b"half")
    (tmp_path / "weights.pt").write_bytes(b"other")
    file.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]
    file.remove()
