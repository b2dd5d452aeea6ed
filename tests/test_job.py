"""How a script ends: the log has the error, and bad input shows without a traceback."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "workflow" / "scripts"
PREAMBLE = f"""
import sys, time, types, logging
sys.path.insert(0, {str(SCRIPTS)!r})
from histo import job
from histo.errors import InputError
job.start(types.SimpleNamespace(log=[sys.argv[1]], threads=1))
logging.info("started")
"""


def ran(tmp_path, code):
    log = tmp_path / "logs" / "a.log"
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + code, str(log)], capture_output=True, text=True, check=False
    )
    assert done.stderr == log.read_text()
    return done.returncode, log.read_text()


def test_bad_input_shows_its_message_alone(tmp_path):
    status, log = ran(tmp_path, "raise InputError('a.zip: expected this, found that.')")
    assert status == 1
    assert log.splitlines()[-1].endswith("ERROR a.zip: expected this, found that.")
    assert "Traceback" not in log


def test_a_defect_shows_its_traceback(tmp_path):
    status, log = ran(tmp_path, "1 / 0")
    assert status == 1
    assert "Traceback" in log
    assert log.splitlines()[-1] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_as_exceptions_would(tmp_path, number):
    code = f"""
try:
    print(flush=True)
    time.sleep(30)
finally:
    open({str(tmp_path / "tidied")!r}, "w").close()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + code, str(tmp_path / "log")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(10) != 0
    process.communicate()
    assert (tmp_path / "tidied").exists()
