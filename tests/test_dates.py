"""Files that are dated in the future: one message, whose command mends it."""

import os
import subprocess
import time

import pytest

from histo.dates import require_past
from histo.errors import InputError


def test_the_command_of_the_message_mends_the_dates(tmp_path):
    folder = tmp_path / "a folder"
    (folder / "pack").mkdir(parents=True)
    require_past(folder)
    old, ahead = time.time() - 1000, time.time() + 10**6
    for name, date in (("tiles.parquet", old), ("folds.parquet", ahead), ("pack/a.h5", ahead + 5)):
        (folder / name).write_text(name)
        os.utime(folder / name, (date, date))
    with pytest.raises(InputError, match=r"pack/a\.h5: dated 2\d.*, but the clock of this machine says 2") as caught:
        require_past(folder)
    subprocess.run(str(caught.value).partition("run again: ")[2], shell=True, check=True)
    require_past(folder)
    dates = [(folder / name).stat().st_mtime for name in ("tiles.parquet", "folds.parquet", "pack/a.h5")]
    assert dates[0] == pytest.approx(old) and dates[1] == dates[2] <= time.time()


def test_clocks_of_several_machines_may_differ_by_seconds(tmp_path):
    (tmp_path / "a").touch()
    os.utime(tmp_path / "a", (time.time() + 20,) * 2)
    require_past(tmp_path)


def test_a_folder_that_does_not_exist(tmp_path):
    require_past(tmp_path / "none")
