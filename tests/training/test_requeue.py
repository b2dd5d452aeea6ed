"""A training that SLURM stops at its time limit; tests/slurm has a real one."""

import os

import pytest
import torch

from histo.training.requeue import position, requeued_after_sigterm


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands of SLURM that report the state in the file `state` and write down what they are asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("squeue", f"cat {tmp_path}/state"), ("scontrol", f"echo $@ >> {tmp_path}/asked")):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    (tmp_path / "state").write_text("RUNNING\n")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    return tmp_path


def save(path, epochs, steps):
    torch.save({"identity": {}, "state": {"engine": {}, "progress": {"history": [{}] * epochs, "steps": steps}}}, path)


def stop(folder, status, saved):
    """End a training with this exit status after it has saved this position; return what scontrol was asked."""
    with pytest.raises(SystemExit) as ended, requeued_after_sigterm(folder / "resume.pt"):
        if saved:
            save(folder / "resume.pt", *saved)
        raise SystemExit(status)
    assert ended.value.code == status
    return (folder / "asked").read_text() if (folder / "asked").exists() else ""


def test_position(tmp_path):
    assert position(tmp_path / "resume.pt") is None
    save(tmp_path / "resume.pt", 2, 7)
    assert position(tmp_path / "resume.pt") == (2, 7)
    (tmp_path / "resume.pt").write_bytes(b"PK")
    assert position(tmp_path / "resume.pt") is None


def test_a_job_with_new_progress_goes_back_to_the_queue(slurm):
    assert stop(slurm, 143, (0, 5)) == "requeue 17\n"
    assert stop(slurm, 143, (1, 5)) == "requeue 17\n" * 2


def test_progress_in_any_training_of_a_trial_counts(slurm):
    first, second = slurm / "fold-0.resume.pt", slurm / "fold-1.resume.pt"
    save(first, 3, 0)
    for saved, asked in ((second, "requeue 17\n"), (None, "requeue 17\n")):
        with pytest.raises(SystemExit), requeued_after_sigterm(first, second):
            if saved:
                save(saved, 1, 2)
            raise SystemExit(143)
        assert (slurm / "asked").read_text() == asked


@pytest.mark.parametrize(
    ("status", "before", "saved", "state"),
    [
        pytest.param(143, (1, 5), (1, 5), "RUNNING", id="no progress"),
        pytest.param(143, None, None, "RUNNING", id="nothing saved"),
        pytest.param(143, None, (0, 5), "COMPLETING", id="cancelled"),
        pytest.param(1, None, (0, 5), "RUNNING", id="an error"),
    ],
)
def test_any_other_job_fails(slurm, status, before, saved, state):
    if before:
        save(slurm / "resume.pt", *before)
    (slurm / "state").write_text(state)
    assert stop(slurm, status, saved) == ""


def test_outside_of_slurm_nothing_is_asked(slurm, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID")
    assert stop(slurm, 143, (0, 5)) == ""


def test_without_the_commands_of_slurm_the_job_fails(slurm, monkeypatch):
    monkeypatch.setenv("PATH", str(slurm))
    assert stop(slurm, 143, (0, 5)) == ""


def test_a_refusal_is_logged(slurm, caplog):
    (slurm / "bin" / "scontrol").write_text("#!/bin/sh\necho not allowed >&2\nexit 1\n")
    stop(slurm, 143, (0, 5))
    assert "scontrol requeue 17: not allowed The job fails." in caplog.text
