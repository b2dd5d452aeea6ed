# What all rules share: checked settings, paths, and the fingerprint of each rule's code.

import hashlib
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

# Snakemake puts it into a shell command as it is, which a folder with a space in its name would break.
sys.executable = shlex.quote(sys.executable)

from histo.config.configuration import check, model_settings, search_settings, train_settings
from histo.errors import InputError
from histo.failures import failures, show_errors_last
from histo.files import read_json
from histo.networks.names import weights_file
from histo.provenance import code_version

try:
    check(config)
except InputError as error:
    raise WorkflowError(str(error))

NAME = config["dataset"]["name"]
SHARDS = {split: [f"{k:05d}" for k in range(config["index"][f"{split}_shards"])] for split in ("train", "test")}
FOLDS = list(range(config["folds"]["count"]))
PCAM_PARTS = {"train": ["train"], "test": ["valid", "test"]}  # in the order in which they are joined
SOURCE_RULES = "pcam" if config["dataset"]["source"] == "pcam" else "archive"
CLASSICAL = config["classical"]
SEARCHES = config["search"]
SEARCH_SETTINGS = {name: search_settings(config, name) for name in SEARCHES}
MODELS = config["submission"]["models"]
NETWORKS = [name for name in MODELS if name in config["models"]]
STAINED = config["stain"]["method"] != "none"
TILES = "stain" if STAINED else "pack"  # the stage whose shards models learn from and predict
ENVIRONMENT = str(WORKFLOW.parent / "envs" / "histo.yaml")


def any_of(names):
    """Pattern of a wildcard that is one of these names."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


wildcard_constraints:
    split="train|test",
    shard=r"\d{5}",
    fold=r"\d+",
    model=any_of([*config["models"], *CLASSICAL]),


def result(path):
    """Path of a result of this data set."""
    return f"results/{NAME}/{path}"


def resource(path):
    """Path of what this data set starts from."""
    return f"resources/{NAME}/{path}"


def log_path(rule, path=""):
    """Path of a job's log; it mirrors the path of the job's output."""
    return f"logs/{NAME}/{rule}/{path}.log" if path else f"logs/{NAME}/{rule}.log"


def benchmark_path(rule, path=""):
    """Path of a job's running time and memory."""
    return f"benchmarks/{NAME}/{rule}/{path}.tsv" if path else f"benchmarks/{NAME}/{rule}.tsv"


def shards_of(stage, ending, splits=("train", "test")):
    """Paths that a stage makes for all shards of the given splits."""
    return [result(f"{stage}/{split}-{shard}.{ending}") for split in splits for shard in SHARDS[split]]


def folds_of(stage, file, models):
    """Paths that a stage makes for all folds of the given models, folds of one model together."""
    return [result(f"{stage}/{model}/fold-{fold}/{file}") for model in models for fold in FOLDS]


def initial_weights(settings):
    """Path of the file of weights that training with these settings of a model starts from, as a list of one or none.

    A file of ImageNet weights has its content's SHA-256 in its name: fetched once more, from a mirror for instance, it
    must not train again.
    """
    path = weights_file(settings["network"])
    if path and settings["network"]["weights"] == "imagenet":
        path = ancient(path)
    return [path] if path else []


def first_trials(search, count):
    """Paths of the results of the first `count` trials of a search."""
    return [result(f"search/{search}/trial-{trial:03d}.json") for trial in range(1, count + 1)]


def earlier_trials(search, trial):
    """Paths of the results that a trial (counted from 1) is drawn from: those of all batches before its own."""
    settings = SEARCHES[search]
    before = (trial - 1) // settings["trials_per_batch"] * settings["trials_per_batch"]
    return first_trials(search, before) if settings["sampler"] == "tpe" else []


def searches_of(models):
    """Names of the searches that the given models take their settings from."""
    return list(dict.fromkeys(own["search"] for own in (config["models"][name] for name in models) if "search" in own))


def bests_of(models):
    """Paths of the settings that the given models take from searches."""
    return [result(f"search/{name}/best.yaml") for name in searches_of(models)]


def all_searches():
    """Paths of the pages of all searches."""
    if not SEARCHES:
        raise WorkflowError("The configuration has no section `search`; config/README.md shows one.")
    return [result(f"search/{name}/trials.html") for name in SEARCHES]


def archive():
    """Path of the archive: the user's own, a folder extracted from one, or what a rule makes."""
    dataset = config["dataset"]
    return dataset[dataset["source"]] if dataset["source"] in ("archive", "folder") else resource("archive.zip")


def tables_or_archive():
    """What stands for the archive as an input: itself, or of a folder the tables, since 277,000 files are too many."""
    if config["dataset"]["source"] == "folder":
        return [str(Path(archive()) / table) for table in ("train_labels.csv", "sample_submission.csv")]
    return archive()


def pcam_tiles(splits):
    """Paths of PatchCamelyon's unpacked tiles, of the parts that the given splits consist of."""
    return [result(f"pcam_gunzip/{part}.h5") for split in splits for part in PCAM_PARTS[split]]


def pcam_labels():
    """Paths of PatchCamelyon's labels, of all parts."""
    names = [part for split in PCAM_PARTS for part in PCAM_PARTS[split]]
    return [resource(f"camelyonpatch_level_2_split_{name}_y.h5.gz") for name in names]


def sent():
    """What is known of submissions to Kaggle: {path: content's SHA-256}.

    A parameter of the report and no input of it: asking for a report must never submit anything.
    """
    paths = [Path(result(name)) for name in ("submission-score.json", "scores.json")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()}


show_errors_last(not workflow.remote_exec)


def show_errors(logs):
    """Print last the errors that failed jobs wrote into their logs; logs: path or paths of Snakemake's own."""
    texts = [Path(log).read_text() for log in ([logs] if isinstance(logs, str) else logs)]
    for failure in failures("\n".join(texts)):
        print(f"\nFailed: {failure}", file=sys.stderr)


def show_results():
    """Print the AUC of the submission and the paths of the results, once there is a submission."""
    paths = {name: Path(result(name)) for name in ("submission.csv", "report.html", "ensemble.json", "submission.json")}
    if all(path.is_file() for path in paths.values()):
        ensemble, submission = read_json(paths["ensemble.json"]), read_json(paths["submission.json"])
        folds = ", ".join(f"{row['auc']:.4f}" for row in ensemble["folds"])
        interval = f"{ensemble['auc_low']:.4f} to {ensemble['auc_high']:.4f}"
        print(f"\nOut-of-fold AUC  {ensemble['auc']:.4f} ({interval}); by fold {folds}", file=sys.stderr)
        if "truth" in submission:
            parts = submission["truth"].get("parts", {}).items()
            shares = ", ".join(f"{part} part {rated['auc']:.4f}" for part, rated in parts)
            rated = f"{submission['truth']['auc']:.4f}" + (f" ({shares})" if shares else "")
            print(f"Held-out labels  AUC {rated} of the submission", file=sys.stderr)
        print(f"Submission       {paths['submission.csv']} ({submission['rows']:,} rows)", file=sys.stderr)
        print(f"Report           {paths['report.html']}", file=sys.stderr)
