"""How a script reports its end: errors in the log, bad input without a traceback, signals as exceptions."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from histo.failures import _failure

SCRIPTS = Path(__file__).resolve().parents[1] / "workflow" / "scripts"
PREAMBLE = f"""
import sys, time, types, logging
sys.path.insert(0, {str(SCRIPTS)!r})
from histo import job
from histo.errors import InputError
job.start(types.SimpleNamespace(log=[sys.argv[1]], threads=1))
logging.info("started")
"""


def ran(tmp_path, code, errors=""):
    """Exit status, log and standard error of a script; errors: value of HISTO_ERRORS."""
    log = tmp_path / "logs" / "a.log"
    variables = {name: value for name, value in os.environ.items() if name != "HISTO_ERRORS"}
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + code, str(log)],
        env=variables | ({"HISTO_ERRORS": errors} if errors else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, log.read_text(), done.stderr


def test_bad_input_is_reported_by_its_message_alone(tmp_path):
    status, log, printed = ran(tmp_path, "raise InputError('a.zip: expected this, found that.')")
    assert status == 1
    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO started\n\d\d:\d\d:\d\d ERROR a\.zip: expected this, found that\.\n", log)
    assert printed == log


def test_a_bug_is_reported_with_its_traceback(tmp_path):
    status, log, printed = ran(tmp_path, "1 / 0")
    assert status == 1
    assert "Traceback" in log
    assert log.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert printed == log


def test_errors_go_to_the_log_alone_where_they_are_printed_last(tmp_path):
    code = "logging.warning('slow')\nraise InputError('a.zip: expected this, found that.')"
    status, log, printed = ran(tmp_path, code, errors="log")
    assert status == 1
    first, second, third = log.splitlines(keepends=True)
    assert third.endswith(" ERROR a.zip: expected this, found that.\n")
    assert printed == first + second


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_a_script_as_exceptions_do(tmp_path, number):
    code = f"""
try:
    print(flush=True)
    time.sleep(100)
finally:
    open({str(tmp_path / "tidied")!r}, "w").close()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + code, str(tmp_path / "log")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(60) != 0
    process.communicate()
    assert (tmp_path / "tidied").exists()


def test_control_characters_are_escaped(tmp_path):
    """Names of files and answers of servers cannot send codes to the terminal."""
    code = "logging.info('%s', 'a\\x1b[2Jb\\rc\\x9bd\\u202ee\\tf\\ng ä')"
    _, log, printed = ran(tmp_path, code)
    assert log.endswith("INFO a\\x1b[2Jb\\x0dc\\x9bd\\u202ee\tf\ng ä\n")
    assert printed == log


def test_a_mapped_file_that_is_cut_short(tmp_path):
    """The kernel kills the job; its log says with what, and the message says what to do."""
    code = """
import mmap, os
path = sys.argv[1] + ".data"
with open(path, "wb") as file:
    file.write(bytes(1 << 20))
with open(path, "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
os.truncate(path, 0)
mapped[500_000]
"""
    status, log, _ = ran(tmp_path, code)
    assert status == -signal.SIGBUS
    assert "Fatal Python error: Bus error" in log
    found = _failure(str(tmp_path / "logs" / "a.log"))
    assert found.startswith("a file that the job reads through a memory map, such as a shard, is shorter than")


FULL = {
    "a file": "open('/dev/full', 'w').write('x' * 100_000)",
    "HDF5": "import h5py, numpy as np; h5py.File(sys.argv[1] + '.h5', 'w')['a'] = np.zeros(10**6)",
    "Parquet": "import pandas as pd; pd.DataFrame({'a': range(10**6)}).to_parquet(sys.argv[1] + '.parquet')",
}


@pytest.mark.parametrize("kind", FULL)
def test_a_full_disk_is_one_message(tmp_path, kind):
    """A limit of the size of files stands for a full disk."""
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
    status, log, _ = ran(tmp_path, limit + FULL[kind])
    assert status == 1
    assert "Traceback" not in log
    assert re.search(r"ERROR .*no space left on the disk, or a quota is used up .* Free some space and run again", log)


def test_no_memory_is_one_message(tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
    status, log, _ = ran(tmp_path, limit + "import numpy as np; np.ones(1 << 33, np.uint8)")
    assert status == 1
    assert "Traceback" not in log
    assert re.search(
        r"ERROR No memory is left \(Unable to allocate 8\.00 GiB .* or run fewer jobs at once .*again", log
    )


def test_a_file_without_permission_is_one_message(tmp_path):
    status, log, _ = ran(tmp_path, "import errno; raise PermissionError(errno.EACCES, 'Permission denied', 'a/b.h5')")
    assert status == 1
    assert log.endswith(
        "ERROR a/b.h5: cannot be read or written (Permission denied). Correct its permissions and run again.\n"
    )
