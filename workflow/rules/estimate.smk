# What a full run of the configuration consists of, for the estimate of `sketch`: its networks, the space that they
# need, and how many jobs run side by side.

from histo.files import read_json
from histo.pages.run_times import STAGES

SMALLEST, LARGEST = 2000, 10_000  # tiles of the sample of the small network: a tenth of all within these limits


def sample_fraction():
    """Fraction of the training tiles on which the small network is trained and validated; not known before `folds`."""
    if not Path(result("folds.json")).is_file():
        return None
    folds = read_json(Path(result("folds.json")))
    return min(folds["tiles"], max(SMALLEST, min(LARGEST, folds["tiles"] // 10))) / folds["of"]


def network_names(model):
    """Names of all networks of a model that a full run trains."""
    stained = [f"stain-{fold}" for fold in FOLDS] if config["folds"]["also_by_stain"] else []
    return [f"fold-{fold}" for fold in FOLDS] + stained + networks([], config["submission"]["full_networks"])


def networks_on_test_tiles(model):
    """Names of the networks of a model that predict the test tiles: those that are submitted, of a teacher all."""
    return network_names(model) if model in all_teachers() else submitted_networks(model)


def network_slots():
    """Cores, or GPUs where there are any, that networks share on this machine; on a cluster each has its own."""
    if workflow.remote_exec or not workflow.local_exec:
        return sum(len(network_names(model)) for model in trained_models())
    # The value of a resource without a limit is None.
    return getattr(workflow.global_resources.get("gpu"), "value", None) or 1 if gpus_of("train") else workflow.cores


def network_settings(model):
    """Settings of the networks of a model; of one that names a search, what the trials start from, and its own."""
    return {key: value for key, value in model_settings(config, model).items() if key != "search"}


def planned_networks():
    """What `sketch` measures and counts, by name of a model or search."""
    recipes = {
        name: (network_settings(name), network_names(name), networks_on_test_tiles(name), 0)
        for name in trained_models()
    }
    for name in searches_of(trained_models()):
        base, trials = SEARCH_SETTINGS[name]["base"], SEARCHES[name]["trials"]
        recipes[f"search {name}"] = (base, [f"fold-{fold}" for fold in SEARCHES[name]["folds"]], [], trials)
    return {name: planned_network(*recipe) for name, recipe in recipes.items()}


def planned_network(settings, names, on_test_tiles, trials):
    """The same of one model or search."""
    shared = workflow.local_exec and not workflow.remote_exec
    slots = min(settings["threads"], workflow.cores) if shared and not gpus_of("train") else 1
    return {
        "settings": settings | {"warm_start": None},  # changes no speed
        "weights": next(iter(imagenet_weights(settings)), own_weights(settings)),
        "networks": names,
        "on_test_tiles": on_test_tiles,
        "trials": trials,
        "slots": slots,
        "measured_at_once": min(network_slots() // slots, trials or len(names)) if shared else 1,
    }


def stages_before_networks():
    """Jobs that run side by side of each stage before the networks, by stage."""
    cores = workflow.cores if workflow.local_exec and not workflow.remote_exec else len(shards_of("pack", "h5"))
    stages = STAGES[: STAGES.index("search_trial")]
    unzip = getattr(workflow.global_resources.get("unzip"), "value", None) or cores
    return {stage: min(unzip, cores) if stage == "unzip" else cores for stage in stages}


def space_of_full_run():
    """Bytes that a full run needs, by what they are for."""
    trials = sum(SEARCHES[name]["trials"] for name in searches_of(trained_models()))
    trained = sum(len(network_names(model)) for model in trained_models())
    pack = "pcam_pack" if SOURCE_RULES == "pcam" else "pack"
    shards = len(shards_of("pack", "h5"))
    jobs = [pack] * shards + ["stain"] * shards * STAINED + ["train"] * trained + ["search_trial"] * trials
    if config["dataset"]["source"] != "folder":
        jobs += ["pcam_gunzip" if SOURCE_RULES == "pcam" else "unzip"]
    return {what: size for _, size, what in needed_space(jobs) if size}
