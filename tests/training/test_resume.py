"""The interval between saves; test_loop.py tests resuming."""

import pytest

from histo.errors import InputError
from histo.training import resume


def test_save_interval_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("HISTO_SAVE_SECONDS", raising=False)
    assert resume.interval() == 300
    monkeypatch.setenv("HISTO_SAVE_SECONDS", "0.5")
    assert resume.interval() == 0.5
    monkeypatch.setenv("HISTO_SAVE_SECONDS", "often")
    with pytest.raises(InputError, match="HISTO_SAVE_SECONDS: expected a number of seconds, found 'often'"):
        resume.interval()
