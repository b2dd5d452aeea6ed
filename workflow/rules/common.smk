# What all rules share: checked settings, paths, and the fingerprint of each rule's code.

import re
import sys

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))

from histo.configuration import check, model_settings
from histo.errors import InputError
from histo.provenance import code_version

try:
    check(config)
except InputError as error:
    raise WorkflowError(str(error))

NAME = config["dataset"]["name"]
SHARDS = {split: [f"{k:05d}" for k in range(config["index"][f"{split}_shards"])] for split in ("train", "test")}
FOLDS = list(range(config["folds"]["count"]))
MODELS = config["submission"]["models"]
ENVIRONMENT = str(Path(workflow.basedir) / "envs" / "histo.yaml")


wildcard_constraints:
    split="train|test",
    shard=r"\d{5}",
    fold=r"\d+",
    model="|".join(re.escape(name) for name in config["models"]),


def result(path):
    """Path of a result of this data set."""
    return f"results/{NAME}/{path}"


def resource(path):
    """Path of what this data set starts from."""
    return f"resources/{NAME}/{path}"


def log_of(rule, path=""):
    """Path of a job's log; it mirrors the path of the job's output."""
    return f"logs/{NAME}/{rule}/{path}.log" if path else f"logs/{NAME}/{rule}.log"


def times_of(rule, path=""):
    """Path of a job's running time and memory."""
    return f"benchmarks/{NAME}/{rule}/{path}.tsv" if path else f"benchmarks/{NAME}/{rule}.tsv"


def shards_of(stage, ending, splits=("train", "test")):
    """Paths that a stage makes for all shards of the given splits."""
    return [result(f"{stage}/{split}-{shard}.{ending}") for split in splits for shard in SHARDS[split]]


def folds_of(stage, file, models):
    """Paths that a stage makes for all folds of the given models, folds of one model together."""
    return [result(f"{stage}/{model}/fold-{fold}/{file}") for model in models for fold in FOLDS]


def archive():
    """Path of the archive: the user's own, or the one that a rule makes."""
    dataset = config["dataset"]
    return dataset["archive"] if dataset["source"] == "archive" else resource("archive.zip")


def show_errors(log):
    """Print again, as the last word, what failed jobs wrote as errors into their logs."""
    paths = dict.fromkeys(re.findall(r"^\s*log: (\S+)", Path(log).read_text(), flags=re.MULTILINE))
    for path in (Path(path) for path in paths):
        errors = path.read_text().partition(" ERROR ")[2] if path.is_file() else ""
        if errors:
            print(f"\nFailed: {errors.rstrip()}\n(whole log: {path})", file=sys.stderr)
