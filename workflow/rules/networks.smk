# Inputs of rules that depend on the models: their networks, and what these learn from.

from histo.apply.finished_run import networks
from histo.networks.names import weights_file


def submitted_networks(model):
    """Names of the networks, or fitted classical models, of a model that predict the test tiles."""
    return networks(FOLDS, config["submission"]["full_networks"] if model in config["models"] else 0)


def test_predictions(models):
    """Paths of the predictions of the test tiles that are submitted, model by model."""
    return [result(f"predict/{model}/{name}/test.parquet") for model in models for name in submitted_networks(model)]


def trained_networks(model):
    """Paths of the weights of the networks of a model that predict the test tiles."""
    return [result(f"train/{model}/{name}/weights.pt") for name in submitted_networks(model)]


def settings_of(model):
    """All settings of a network or a classical model, of a network except those that it takes from a search."""
    return train_settings(config, model) if model in config["models"] else CLASSICAL[model]


def folds_of_network(wildcards):
    """Path of the table with the folds of a network."""
    return result("folds-by-stain.parquet" if wildcards.network.startswith("stain-") else "folds.parquet")


def computing_threads(wildcards):
    """Threads with which a network of a model computes on a CPU."""
    return model_settings(config, wildcards.model)["threads"]


def teachers(model):
    """Models that give the pseudo-labels of a model; none if it takes its settings from a search."""
    return [] if "search" in config["models"][model] else model_settings(config, model)["pseudo_labels"]


def all_teachers():
    """Models that give pseudo-labels to another one."""
    return {teacher for model in config["models"] for teacher in teachers(model)}


def warm_start(model):
    """Model whose weights a model starts from, or None."""
    return None if "search" in config["models"][model] else model_settings(config, model)["warm_start"]


def trained_models():
    """Models of which networks are trained for the submission: its own, and those that these need, and so on."""
    found = list(NETWORKS)
    for name in found:  # grows meanwhile
        found += [one for one in [*teachers(name), warm_start(name)] if one in config["models"] and one not in found]
    return found


def pseudo_labels(model, network):
    """Paths of the predictions of the test tiles that a network of a model is trained on.

    The network of a fold learns from the teachers' networks of the same fold alone: the others know its labels.
    """
    if network.startswith("full-"):
        return test_predictions(teachers(model))
    return [result(f"predict/{teacher}/{network}/test.parquet") for teacher in teachers(model)]


def imagenet_weights(settings):
    """Path of the ImageNet weights that training starts from, as a list; empty for other weights.

    They have the SHA-256 of their content in their name, so a new download must not rerun training.
    """
    path = weights_file(settings["network"])
    return [ancient(path)] if path and settings["network"]["weights"] == "imagenet" else []


def initial_weights(model, network):
    """Path of the weights that a network starts from, as a list; empty for random ones and the user's own file.

    With `warm_start`, those of the other model's network of the same fold alone: the others know its labels.
    """
    if warm_start(model):
        return [result(f"train/{warm_start(model)}/{network}/weights.pt")]
    return imagenet_weights(model_settings(config, model))


def own_weights(settings):
    """Path of the user's file of weights that training starts from, or None. It is no input: see `by_content`."""
    return weights_file(settings["network"]) if not imagenet_weights(settings) else None


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
