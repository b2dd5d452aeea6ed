# Threads and other resources that jobs request. Measurements behind the amounts: docs/resources.md.

import math

from histo.address_space import require_torch
from histo.gpus import gpu_expected

NETWORK_MEMORY = {"train": (6000, 1.5), "predict": (6000, 0.8)}  # of a job: MB, and MB per MiB of its input


def default_gpus(wildcards):
    """Units of the resource `gpu` of a job with a network: none on a machine without a GPU, where cores are the limit."""
    return int(not workflow.local_exec or gpu_expected())


def gpus_of(rule):
    """The same of the jobs of a rule, after --set-resources and profiles."""
    own = workflow.resource_settings._parsed_overwrite_resources.get(rule, {}).get("gpu")
    gpus = getattr(own, "value", None)
    return gpus if isinstance(gpus, int) else default_gpus(None)


def network_threads(rule, computing):
    """Return the threads that a rule with a network reserves, as a function of the wildcards.

    On a CPU those that compute, for each process; computing: their number, by wildcards. With GPUs at most 16 for each, so
    that jobs for all units of the resource `gpu` fit the cores: without a limit of it, or with a limit of 1, one job
    gets all. On a cluster 16 for each, unless the profile sets threads.
    """

    def reserved(wildcards):
        used = gpus_of(rule)
        if not used or workflow.local_exec and not gpu_expected():
            return computing(wildcards) * max(1, used)
        cores, gpus = (getattr(workflow.global_resources.get(name), "value", None) for name in ("_cores", "gpu"))
        if not workflow.local_exec or not cores or not gpus:
            return 16 * used
        used = min(used, gpus)
        return max(1, min(16 * used, cores * used // gpus))

    return reserved


def megabytes(path):
    """Size of a file in MiB; 0 if there is none yet: a group of jobs is submitted before its first job has run."""
    return Path(path).stat().st_size / 2**20 if Path(path).is_file() else 0


def by_size(fixed, per_mb=0):
    """Amount of a resource that a job requests: `fixed` + `per_mb` × size of its input in MiB, doubled at each retry.

    The size of the input is proportional to the number of tiles. fixed, per_mb: numbers, or functions of the wildcards.
    """

    def requested(wildcards, input, attempt):
        least, more = (amount(wildcards) if callable(amount) else amount for amount in (fixed, per_mb))
        return math.ceil((least + more * sum(map(megabytes, input))) * 2 ** (attempt - 1))

    return requested


def pixels(settings):
    """Pixels of a tile as a network sees it, relative to the default model."""
    return (settings["input_size"] or settings["center_crop"]) ** 2 / 192**2


# Settings that memory and time of a network follow.
REQUESTED = ("batch_size", "center_crop", "epochs", "input_size")


def settings_of_job(wildcards):
    """Settings of the network of a job; what a search samples has its largest value, unless the model has its own."""
    if "search" in wildcards.keys():
        own, search, base = {}, wildcards.search, SEARCH_SETTINGS[wildcards.search]["base"]
    else:
        own, base = config["models"][wildcards.model], model_settings(config, wildcards.model)
        search = own.get("search")
    space = SEARCH_SETTINGS[search]["space"] if search else {}
    sampled = {name: part.get("choices") or [part["high"]] for name, part in space.items() if name not in own}
    largest = {name: max(values, key=lambda value: value or 0) for name, values in sampled.items() if name in REQUESTED}
    return base | largest


def training_memory(settings):
    """MB that a training requests beyond its tiles: more for batches of more pixels than those of the default model."""
    return NETWORK_MEMORY["train"][0] * max(1, settings["batch_size"] / 32 * pixels(settings))


def batch_memory(wildcards):
    """The same of a job."""
    return training_memory(settings_of_job(wildcards))


def training_minutes(wildcards):
    """Minutes of a training per MiB of its input, by the pixels that the network sees; those of a trial in all folds."""
    settings = settings_of_job(wildcards)
    folds = len(SEARCHES[wildcards.search]["folds"]) if "search" in wildcards.keys() else 1
    return 0.1 * settings["epochs"] / 4 * pixels(settings) * folds


def prediction_minutes(wildcards):
    """Minutes of a prediction per MiB of its input."""
    return 0.025 * pixels(settings_of_job(wildcards))


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


def tiles_per_area():
    """Tiles that are predicted per area of a tile: 1, or with apply.stride as many as overlap there."""
    stride = config["apply"]["stride"]
    return max(1, GEOMETRY["tile_side"] / stride) ** 2 if stride else 1


def check_address_space():
    """End the run before its first job if a limit of the address space leaves no room for PyTorch in a planned job."""
    if workflow.is_main_process and any("gpu" in job.rule.resources for job in workflow.dag.needrun_jobs()):
        try:
            require_torch(shlex.split(sys.executable)[0])
        except InputError as error:
            raise WorkflowError(str(error))
