"""Another workflow can use this one as a module, as snakedeploy writes it: jobs are planned and run in its folder."""

import re
import shutil
import subprocess
import sys

import pytest

from support import ROOT

pytestmark = pytest.mark.slow

SNAKEFILE = """
configfile: "config/config.yaml"


module histo:
    snakefile: "{root}/workflow/Snakefile"
    config: config


use rule * from histo
"""


@pytest.fixture
def deployed(tmp_path):
    """A folder with a copy of config/ and a Snakefile that uses the repository as a module."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow" / "Snakefile").write_text(SNAKEFILE.format(root=ROOT))
    return tmp_path


def snakemake(folder, *arguments):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_default_target_is_the_submission(deployed):
    text = snakemake(deployed, "-n", "--quiet", "host")
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", text, flags=re.MULTILINE))
    expected = {"download": "1", "pack": "10", "train": "5", "submission_csv": "1", "report": "1", "all": "1"}
    assert expected.items() <= jobs.items()


def test_rules_run_in_the_folder_of_the_other_workflow(deployed):
    settings = "{train_tiles: 50, test_tiles: 20, train_slides: 4, test_slides: 2, seed: 1, faults: {}}"
    target = "results/kaggle/index.parquet"
    snakemake(deployed, target, "--config", "dataset={source: synthetic}", f"synthesize={settings}")
    assert (deployed / target).is_file()
    assert (deployed / "logs" / "kaggle" / "synthesize.log").is_file()
