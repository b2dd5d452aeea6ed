# Shared by all rules: checked settings, and paths of results. Included first: it makes the package histo importable.

import os
import re
import shlex
import sys

from snakemake.exceptions import WorkflowError


def workflow_folder():
    """Folder `workflow/` of this repository, also where another workflow uses it as a module.

    Of a module on a Git host Snakemake caches single files: all that scripts may import are cached here.
    """
    here = workflow.current_basedir
    if not hasattr(here, "hosted_repo"):
        return Path(here).parent
    for path in here.hosted_repo.repo.git.ls_tree("-r", "--name-only", here.ref, "workflow", "envs").split():
        workflow.sourcecache.get_path(here.join(f"../../{path}"))
    return Path(workflow.sourcecache.get_path(here.join("common.smk"))).parents[1]


WORKFLOW = workflow_folder()
sys.path.insert(0, str(WORKFLOW / "scripts"))

os.environ.update(PYTHONUTF8="1")  # of jobs: templates and logs are UTF-8, whatever the locale

# Snakemake inserts it unquoted into a shell command, which fails if the path contains a space.
sys.executable = shlex.quote(sys.executable)

from histo.config.configuration import check, model_settings, search_settings, train_settings
from histo.dates import require_past
from histo.errors import InputError

try:
    check(config)
except InputError as error:
    raise WorkflowError(str(error))

NAME = config["dataset"]["name"]
RUN = f"{NAME}/runs/{config['run']['name']}" if config["run"]["name"] else NAME
# Results and rules of the data set, which all its runs share.
SHARED = {"index.parquet", "sample_submission.csv", "unzip", "validate", "pack", "pcam_gunzip"}
SHARED_RULES = {"download", "synthesize", "index", "unzip", "validate", "pack", "verify"} | {
    f"pcam_{stage}" for stage in ("download", "gunzip", "index", "pack")
}
for folder in ("results", "logs", "benchmarks", "resources", f"results/{NAME}", f"results/{RUN}"):
    if Path(folder).exists() and not Path(folder).is_dir():
        raise WorkflowError(f"{Path(folder).absolute()}: expected a folder, found a file. Rename it and run again.")
    if Path(folder).is_dir() and not os.access(folder, os.W_OK | os.X_OK) and not workflow.dryrun:
        raise WorkflowError(f"{Path(folder).absolute()}: cannot be written. Correct its permissions and run again.")
if workflow.is_main_process and not workflow.dryrun:
    try:
        require_past(Path(f"results/{NAME}"))
    except InputError as error:
        raise WorkflowError(str(error))
GEOMETRY = {key: config["dataset"][key] for key in ("tile_side", "centre_side", "classes")}
SHARDS = {split: [f"{k:05d}" for k in range(config["index"][f"{split}_shards"])] for split in ("train", "test")}
FOLDS = list(range(config["folds"]["count"]))
SOURCE_RULES = "pcam" if config["dataset"]["source"] == "pcam" else "archive"
CLASSICAL = config["classical"]
SEARCHES = config["search"]
SEARCH_SETTINGS = {name: search_settings(config, name) for name in SEARCHES}
MODELS = config["submission"]["models"]
NETWORKS = [name for name in MODELS if name in config["models"]]
STAINED = config["stain"]["method"] != "none"
TILES = "stain" if STAINED else "pack"  # stage whose shards training and prediction read
ENVIRONMENT = str(WORKFLOW.parent / "envs" / "histo.yaml")
SLIDES_ENVIRONMENT = str(WORKFLOW.parent / "envs" / "slides.yaml")
TRACK_ENVIRONMENT = str(WORKFLOW.parent / "envs" / "track.yaml")
EXPORT_ENVIRONMENT = str(WORKFLOW.parent / "envs" / "export.yaml")


def any_of(names):
    """Pattern of a wildcard that matches exactly these names."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


wildcard_constraints:
    split="train|test",
    shard=r"\d{5}",
    fold=r"\d+",
    replicate=r"\d+",
    model=any_of([*config["models"], *CLASSICAL]),


def result(path):
    """Path of a result of this run, or of its data set if all runs share it."""
    return f"results/{NAME if path.partition('/')[0] in SHARED else RUN}/{path}"


def resource(path):
    """Path of an input file of this data set."""
    return f"resources/{NAME}/{path}"


def run_folder(rule):
    """Folder of the logs and running times of a rule."""
    return NAME if rule in SHARED_RULES else RUN


def log_path(rule, path=""):
    """Path of a job's log; mirrors the path of its output."""
    return f"logs/{run_folder(rule)}/{rule}/{path}.log" if path else f"logs/{run_folder(rule)}/{rule}.log"


def benchmark_path(rule, path=""):
    """Path of the table with a job's running time and memory."""
    return f"benchmarks/{run_folder(rule)}/{rule}/{path}.tsv" if path else f"benchmarks/{run_folder(rule)}/{rule}.tsv"


def shared_cache():
    """Whether shards are taken from Snakemake's cache between workflows and stored there.

    The rules say so only then: Snakemake would print a warning in every other run.
    """
    return bool(workflow.enable_cache and os.environ.get("SNAKEMAKE_OUTPUT_CACHE"))


def shards_of(stage, ending, splits=("train", "test")):
    """Output paths of a stage for all shards of the given splits."""
    return [result(f"{stage}/{split}-{shard}.{ending}") for split in splits for shard in SHARDS[split]]


def folds_of(stage, file, models, kind="fold"):
    """Output paths of a stage for all folds of the given models, model by model; kind: fold, or stain for those by stain."""
    return [result(f"{stage}/{model}/{kind}-{fold}/{file}") for model in models for fold in FOLDS]
