# Shared by all rules: checked settings, paths, fingerprints of code.

import functools
import hashlib
import math
import os
import re
import shlex
import sys

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger


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

# Snakemake inserts it unquoted into a shell command, which fails if the path contains a space.
sys.executable = shlex.quote(sys.executable)

from histo.apply.runs import networks
from histo.config.configuration import PREDEFINED, check, model_settings, search_settings, train_settings
from histo.errors import InputError
from histo.failures import failures, show_errors_last
from histo.files import read_json
from histo.networks.names import builder_parts, weights_file
from histo.overrides import merge, resolve_search
from histo.progress.remaining import Training, Trainings
from histo.progress.terminal import show_jobs
from histo.provenance import code_version, file_version
from histo.user_files import identity
from histo.zip_paths import split_zip_path

try:
    check(config)
except InputError as error:
    raise WorkflowError(str(error))

NAME = config["dataset"]["name"]
for folder in ("results", "logs", "benchmarks", "resources", f"results/{NAME}"):
    if Path(folder).exists() and not Path(folder).is_dir():
        raise WorkflowError(f"{Path(folder).absolute()}: expected a folder, found a file. Rename it and run again.")
    if Path(folder).is_dir() and not os.access(folder, os.W_OK | os.X_OK) and not workflow.dryrun:
        raise WorkflowError(f"{Path(folder).absolute()}: cannot be written. Correct its permissions and run again.")
GEOMETRY = {key: config["dataset"][key] for key in ("tile_side", "centre_side", "classes")}
SHARDS = {split: [f"{k:05d}" for k in range(config["index"][f"{split}_shards"])] for split in ("train", "test")}
FOLDS = list(range(config["folds"]["count"]))
PCAM_PARTS = {"train": ["train"], "test": ["valid", "test"]}  # in this order
SOURCE_RULES = "pcam" if config["dataset"]["source"] == "pcam" else "archive"
CLASSICAL = config["classical"]
SEARCHES = config["search"]
SEARCH_SETTINGS = {name: search_settings(config, name) for name in SEARCHES}
MODELS = config["submission"]["models"]
NETWORKS = [name for name in MODELS if name in config["models"]]
STAINED = config["stain"]["method"] != "none"
TILES = "stain" if STAINED else "pack"  # stage whose shards training and prediction read
ENVIRONMENT = str(WORKFLOW.parent / "envs" / "histo.yaml")
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
    """Path of a result of this data set."""
    return f"results/{NAME}/{path}"


def resource(path):
    """Path of an input file of this data set."""
    return f"resources/{NAME}/{path}"


def log_path(rule, path=""):
    """Path of a job's log; mirrors the path of its output."""
    return f"logs/{NAME}/{rule}/{path}.log" if path else f"logs/{NAME}/{rule}.log"


def benchmark_path(rule, path=""):
    """Path of the table with a job's running time and memory."""
    return f"benchmarks/{NAME}/{rule}/{path}.tsv" if path else f"benchmarks/{NAME}/{rule}.tsv"


def shards_of(stage, ending, splits=("train", "test")):
    """Output paths of a stage for all shards of the given splits."""
    return [result(f"{stage}/{split}-{shard}.{ending}") for split in splits for shard in SHARDS[split]]


def folds_of(stage, file, models):
    """Output paths of a stage for all folds of the given models, model by model."""
    return [result(f"{stage}/{model}/fold-{fold}/{file}") for model in models for fold in FOLDS]


def test_predictions(models):
    """Paths of the predictions of the test tiles that are submitted, model by model."""
    full = config["submission"]["full_networks"]
    return [
        path
        for model in models
        for path in (
            [result(f"predict/{model}/full-{replicate}/test.parquet") for replicate in range(full)]
            if full and model in config["models"]
            else folds_of("predict", "test.parquet", [model])
        )
    ]


def trained_networks(model):
    """Paths of the weights of the networks of a model that predict the test tiles."""
    names = networks(FOLDS, config["submission"]["full_networks"])
    return [result(f"train/{model}/{name}/weights.pt") for name in names]


def teachers(model):
    """Models that give the pseudo-labels of a model; none if it takes its settings from a search."""
    return [] if "search" in config["models"][model] else model_settings(config, model)["pseudo_labels"]


def pseudo_labels(model, network):
    """Paths of the predictions of the test tiles that a network of a model is trained on.

    The network of a fold learns from the teachers' networks of the same fold alone: the others know its labels.
    """
    if network.startswith("full-"):
        return test_predictions(teachers(model))
    return [result(f"predict/{teacher}/{network}/test.parquet") for teacher in teachers(model)]


def folds_by(wildcards):
    """What a table of folds is by, groups or stain: what its name says, or `folds.by`."""
    return wildcards.kind.removeprefix("-by-") or config["folds"]["by"]


def uncompared(value):
    """Return a parameter whose changes rerun nothing: Snakemake compares none that is derived from the output."""
    return lambda wildcards, output: value


def identities(*paths):
    """Return what changes with the contents of files that the user gives, and not with their paths."""
    try:
        return [identity(path) for path in paths]
    except InputError as error:
        raise WorkflowError(str(error))


def imagenet_weights(settings):
    """Path of the ImageNet weights that training starts from, as a list; empty for other weights.

    They have the SHA-256 of their content in their name, so a new download must not rerun training.
    """
    path = weights_file(settings["network"])
    return [ancient(path)] if path and settings["network"]["weights"] == "imagenet" else []


def own_weights(settings):
    """Path of the user's file of weights that training starts from, or None. It is no input: see `by_content`."""
    return weights_file(settings["network"]) if not imagenet_weights(settings) else None


def by_content(settings):
    """Settings of a model with the content of the user's file of weights in the place of its path."""
    path = settings.get("network", {}).get("weights", "none")
    if path in ("none", "imagenet"):
        return settings
    return merge(settings, {"network": {"weights": identities(path)[0]}})


def search_by_content(name):
    """The same for what the trials of a search depend on."""
    return SEARCH_SETTINGS[name] | {"base": by_content(SEARCH_SETTINGS[name]["base"])}


def reported_settings():
    """All settings that the report shows; of models and searches only those of the submission."""
    return {
        **{name: section for name, section in config.items() if name != "apply"},  # no result depends on it
        "models": {name: config["models"][name] for name in NETWORKS},
        "classical": {name: CLASSICAL[name] for name in MODELS if name in CLASSICAL},
        "search": {name: SEARCHES[name] for name in searches_of(NETWORKS)},
    }


def reported_by_content():
    """The same without the paths of the user's files, for comparison: they change no result."""
    settings = reported_settings()
    searches = {name: one | {"settings": by_content(one["settings"])} for name, one in settings["search"].items()}
    return settings | {
        "dataset": {key: value for key, value in settings["dataset"].items() if key not in ("archive", "folder")},
        "folds": settings["folds"] | {"slides": settings["folds"]["slides"] is not None},
        "train": by_content(settings["train"]),
        "models": {name: by_content(train_settings(config, name)) for name in NETWORKS},
        "search": searches,
    }


def network_code(script, settings):
    """Fingerprints of a script and, for a network from a file of the user's, of that file."""
    builder = settings["network"].get("builder")
    return code_version(script) | ({builder: file_version(builder_parts(builder)[0])} if builder else {})


def gpu_threads(wildcards, used=1):
    """Threads of a job with a network: at most 16 per GPU, so that jobs for all units of the resource `gpu` fit the cores.

    used: GPUs of the job. Without a limit of the resource `gpu`, or with a limit of 1, one job gets all cores. On a
    cluster it gets 16 per GPU, unless the profile sets threads.
    """
    cores, gpus = (getattr(workflow.global_resources.get(name), "value", None) for name in ("_cores", "gpu"))
    if not workflow.local_exec or not cores or not gpus:
        return 16 * used
    used = min(used, gpus)
    return max(1, min(16 * used, cores * used // gpus))


def training_threads(wildcards):
    """Threads of a training job: for each of its GPUs those of `gpu_threads`.

    Its number of GPUs is the resource `gpu` that `train` has: 1, or what --set-resources or a profile sets.
    """
    own = workflow.resource_settings._parsed_overwrite_resources.get("train", {}).get("gpu")
    gpus = getattr(own, "value", None)
    return gpu_threads(wildcards, max(1, gpus) if isinstance(gpus, int) else 1)


def megabytes(path):
    """Size of a file in MiB; 0 if there is none yet: a group of jobs is submitted before its first job has run."""
    return Path(path).stat().st_size / 2**20 if Path(path).is_file() else 0


def by_size(fixed, per_mb=0):
    """Amount of a resource that a job requests: `fixed` + `per_mb` × size of its input in MiB, doubled at each retry.

    The size of the input is proportional to the number of tiles. Measurements behind the amounts: docs/resources.md.
    """

    def requested(wildcards, input, attempt):
        return math.ceil((fixed + per_mb * sum(map(megabytes, input))) * 2 ** (attempt - 1))

    return requested


def by_archive(fixed, per_mb, jobs=1):
    """The same by the size of the archive; that of a folder is estimated from its tables, 28 kB per row of 43 bytes.

    jobs: number of jobs that share the archive.
    """
    rows = 28_000 / 43 if config["dataset"]["source"] == "folder" else 1

    def requested(wildcards, input, attempt):
        read = [path for path in input if not path.endswith(".parquet")]  # without the index
        size = sum(megabytes(path) for path in [*read, *given_files()])
        return math.ceil((fixed + per_mb * rows / jobs * size) * 2 ** (attempt - 1))

    return requested


def first_trials(search, count):
    """Paths of the results of the first `count` trials of a search."""
    return [result(f"search/{search}/trial-{trial:03d}.json") for trial in range(1, count + 1)]


def earlier_trials(search, trial):
    """Paths of the results that the sampler of a trial (counted from 1) uses: those of all earlier batches."""
    settings = SEARCHES[search]
    before = (trial - 1) // settings["trials_per_batch"] * settings["trials_per_batch"]
    return first_trials(search, before) if settings["sampler"] == "tpe" else []


def searches_of(models):
    """Names of the searches from which the given models take their settings."""
    return list(dict.fromkeys(own["search"] for own in (config["models"][name] for name in models) if "search" in own))


def bests_of(models):
    """Paths of the best settings of these searches."""
    return [result(f"search/{name}/best.yaml") for name in searches_of(models)]


def all_searches():
    """Paths of the pages of all searches."""
    if not SEARCHES:
        raise WorkflowError("The configuration has no section `search`; config/README.md shows one.")
    return [result(f"search/{name}/trials.html") for name in SEARCHES]


def no_apply():
    """Raise the error that says which settings `apply` needs."""
    raise WorkflowError(
        "The configuration has no section `apply`, which names the model and the tiles. Add --config "
        "apply='{model: NAME, tiles: PATH, out: predictions.csv}'."
    )


def archive():
    """Path of the archive: given by the user (a zip or an extracted folder), or created by a rule."""
    dataset = config["dataset"]
    return dataset[dataset["source"]] if dataset["source"] in ("archive", "folder") else resource("archive.zip")


def given_files():
    """Paths of the files by which a change of the user's data is noticed; of a folder its tables alone, since 277,000
    files are too many. Empty if a rule creates the archive."""
    if config["dataset"]["source"] == "folder":
        return [str(Path(archive()) / table) for table in ("train_labels.csv", "sample_submission.csv")]
    return [archive()] if config["dataset"]["source"] == "archive" else []


def made_slides():
    """Path of the table of slides as an input, as a list; empty if the user gives it, or if there is none."""
    slides = config["folds"]["slides"]
    return (
        [slides] if slides and slides == resource("slides.csv") and config["dataset"]["source"] == "synthetic" else []
    )


def made_archive():
    """Path of the archive as an input, as a list; empty if the user gives it: then its content is a parameter."""
    return [] if given_files() else [archive()]


def by_tiles(fixed, per_mb):
    """The same by the size of a shard's tile file.

    Before there is one, it is estimated from the archive; that of a folder from the index: 28 kB per row of 56 bytes.
    """

    def requested(wildcards, input, attempt):
        shards = len(shards_of("pack", "h5"))
        if config["dataset"]["source"] == "folder":
            size = megabytes(input[0]) * 28_000 / 56 / shards
        else:
            size = megabytes(input[0]) or megabytes(archive()) / shards
        return math.ceil((fixed + per_mb * size) * 2 ** (attempt - 1))

    return requested


def tile_file():
    """Path of the tile file of a shard, as a list: empty for a folder, whose files are read where they are."""
    return [] if config["dataset"]["source"] == "folder" else [result("unzip/{split}-{shard}.tiles")]


def tiles_of(input):
    """Path of the files of a shard's tiles: its tile file, the first input, or the folder."""
    return archive() if config["dataset"]["source"] == "folder" else input[0]


def pcam_tiles(splits):
    """Paths of PatchCamelyon's unpacked tiles, for all parts of the given splits."""
    return [result(f"pcam_gunzip/{part}.h5") for split in splits for part in PCAM_PARTS[split]]


def pcam_labels():
    """Paths of PatchCamelyon's labels, of all parts."""
    names = [part for split in PCAM_PARTS for part in PCAM_PARTS[split]]
    return [resource(f"camelyonpatch_level_2_split_{name}_y.h5.gz") for name in names]


def sent():
    """Records of submissions to Kaggle: {path: SHA-256 of its content}.

    A parameter of the report, not an input: requesting a report must never submit anything.
    """
    paths = [Path(result(name)) for name in ("submission-score.json", "scores.json")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()}


show_errors_last(not workflow.remote_exec)


def show_progress():
    """Show one line per job on the terminal, and the time left after each training; --verbose shows all of Snakemake's."""
    if not workflow.is_main_process or workflow.output_settings.verbose:
        return

    def epochs(model):
        bests = bests_of([model])
        if all(Path(path).is_file() for path in bests):
            return resolve_search(train_settings(config, model), bests)["epochs"]
        return SEARCH_SETTINGS[config["models"][model]["search"]]["base"]["epochs"]

    def tiles():
        return {row["fold"]: row["tiles"] for row in read_json(Path(result("folds.json")))["folds"]}

    jobs = list(workflow.dag.needrun_jobs())
    trainings = {
        workflow.dag.jobid(job): Training(
            job.wildcards.model,
            int(number) if kind == "fold" else None,
            Path(result(f"train/{job.wildcards.model}/{kind}-{number}/history.csv")),
        )
        for job in jobs
        if job.rule.name == "train"
        for kind, _, number in [job.wildcards.network.partition("-")]
    }
    show_jobs(logger, f"logs/{NAME}", len(jobs), Trainings(trainings, epochs, functools.cache(tiles)))


def show_unused_models():
    """Name the networks of the user's that nothing trains."""
    taught = {teacher for name in NETWORKS for teacher in teachers(name)}
    unused = [name for name in config["models"] if name not in {*NETWORKS, *taught, *PREDEFINED}]
    if unused:
        print(f"Not trained, because submission.models does not name them: {', '.join(unused)}", file=sys.stderr)


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
