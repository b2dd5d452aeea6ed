"""Another workflow can use this one as a module, as snakedeploy writes it: jobs are planned and run in its folder."""

import os
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


def snakemake(folder, *arguments, **variables):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    environment = os.environ | variables
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_default_target_is_the_submission(deployed):
    text = snakemake(deployed, "-n", "--quiet", "host")
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", text, flags=re.MULTILINE))
    expected = {"download": "1", "pack": "10", "train": "5", "submission_csv": "1", "report": "1", "all": "1"}
    assert expected.items() <= jobs.items()


def run_to_index(folder, **variables):
    """Run the first two rules; both import modules of the repository."""
    settings = "{train_tiles: 50, test_tiles: 20, train_slides: 4, test_slides: 2, seed: 1, faults: {}}"
    target = "results/kaggle/index.parquet"
    snakemake(folder, target, "--config", "dataset={source: synthetic}", f"synthesize={settings}", **variables)
    assert (folder / target).is_file()
    assert (folder / "logs" / "kaggle" / "synthesize.log").is_file()


def test_rules_run_in_the_folder_of_the_other_workflow(deployed):
    run_to_index(deployed)


def test_module_on_a_git_host(deployed, tmp_path):
    repository = tmp_path / "repository"
    for name in ("workflow", "envs"):
        shutil.copytree(ROOT / name, repository / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", repository)
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "all"], ["tag", "v1"]):
        subprocess.run(["git", *author, *command], cwd=repository, check=True)
    snakefile = deployed / "workflow" / "Snakefile"
    hosted = 'github("owner/name", path="workflow/Snakefile", tag="v1")'
    snakefile.write_text(snakefile.read_text().replace(f'"{ROOT}/workflow/Snakefile"', hosted))
    # Git takes the local repository for the address of the host.
    run_to_index(
        deployed,
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        GIT_CONFIG_COUNT="1",
        GIT_CONFIG_KEY_0=f"url.{repository}.insteadOf",
        GIT_CONFIG_VALUE_0="https://github.com/owner/name",
    )
