"""Run the recorded settings of a finished run again in a folder of its own, and compare weights and submission.

The record is `provenance.json`. Files that the user gave and downloads are read where they are; everything else is made
anew. The new run, with its logs, stays in the folder.
"""

import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from histo.errors import InputError
from histo.files import read_json
from histo.reproduction import difference
from histo.user_functions import PATTERN, function_parts

log = logging.getLogger(__name__)

USER_FILES = {"archive", "folder", "slides", "weights"}  # settings that may be the path of a file
USER_FUNCTIONS = {"builder", "loss", "optimizer", "augmentation"}  # settings that may be file.py:function


def with_absolute_paths(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with absolute paths of the user's files: they are read from another working directory."""
    return {name: _absolute(name, value) for name, value in settings.items()}


def _absolute(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return with_absolute_paths(value)
    if not isinstance(value, str) or value in ("none", "imagenet") or value.startswith("resources/"):  # is linked
        return value
    if name in USER_FUNCTIONS and re.match(PATTERN, value):
        path, function = function_parts(value)
        return f"{Path(path).absolute()}:{function}"
    return str(Path(value).absolute()) if name in USER_FILES and Path(value).exists() else value


def reproduce(record: Path, folder: Path, *, snakefile: Path, cores: int) -> None:
    """Run the settings of a record again below `folder`, which is emptied first.

    Raises InputError if there is no record, if the run fails, and if a result differs: it names the first.
    """
    if not record.is_file():
        raise InputError(f"{record}: expected the record of a finished run, found no file. Run the workflow first.")
    expected = read_json(record)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "resources").symlink_to(Path("resources").absolute())
    settings = folder / "settings.yaml"
    settings.write_text(yaml.safe_dump(with_absolute_paths(expected["settings"]), allow_unicode=True))
    command = [sys.executable, "-m", "snakemake", str(record), "--cores", str(cores)]
    command += ["--snakefile", str(snakefile), "--directory", str(folder), "--configfile", str(settings.absolute())]
    environment = {name: value for name, value in os.environ.items() if name != "HISTO_ERRORS"}
    status = subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode
    if status:
        raise InputError(f"{folder}: the run ended with exit status {status}; its errors are above. Correct them.")
    if found := difference(expected, read_json(folder / record)):
        raise InputError(f"{folder / record}: {found} Use the recorded code, libraries and machine.")
    log.info("Reproduced: %s have the recorded SHA-256.", ", ".join(expected["results"]))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    reproduce(
        Path(snakemake.params.record),
        Path(snakemake.params.folder),
        snakefile=Path(snakemake.params.snakefile),
        cores=snakemake.threads,
    )
