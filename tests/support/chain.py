"""Running the workflow itself in a folder of its own, as a user would."""

import os
import subprocess
import sys
from pathlib import Path

from support import ROOT

CONFIG = [ROOT / "config" / "config.yaml", ROOT / "tests" / "config" / "tiny.yaml"]


def snakemake(
    folder: Path, target: str, *settings: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    """Run the workflow with the tiny settings and further ones (section={...}) up to `target`, results under `folder`.

    environment: all variables of the process, instead of this one's.
    """
    files = ["--snakefile", ROOT / "Snakefile", "--directory", folder, "--configfile", *CONFIG]
    command = [sys.executable, "-m", "snakemake", target, "--cores", "2", *files, "--config", *settings]
    variables = dict(os.environ if environment is None else environment) | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=900)
