# Parameters of rules: what Snakemake compares with the run before, so that a job reruns if and only if its result
# can change.

import hashlib

from histo.errors import InputError
from histo.networks.names import BUILDERS, network_module
from histo.overrides import merge
from histo.provenance import code_version, file_version
from histo.user_files import identity
from histo.user_functions import function_parts, own_functions


def uncompared(value):
    """Return a parameter whose changes rerun nothing: Snakemake compares none that is derived from the output."""
    return lambda wildcards, output: value


def identities(*paths):
    """Return what changes with the contents of files that the user gives, and not with their paths."""
    try:
        return [identity(path) for path in paths]
    except InputError as error:
        raise WorkflowError(str(error))


def templates(page):
    """Parameters with the template of a page and the layout of all pages, compared by content: checkouts renew times."""
    template, layout = (str(WORKFLOW / "report" / f"{name}.html.j2") for name in (page, "page"))
    return {
        "template": uncompared(template),
        "layout": uncompared(layout),
        "templates": identities(template, layout),
    }


def given_contents():
    """What tells the contents of the user's data from others, by name of the file."""
    slides = [] if slides_input() else filter(None, [config["folds"]["slides"]])
    return {Path(path).name: identities(path)[0] for path in [*given_files(), *slides]}


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
    """All settings that the report shows; of models and searches only those that the submission needs."""
    return {
        **{name: section for name, section in config.items() if name not in ("apply", "track")},  # change no result
        "models": {name: config["models"][name] for name in trained_models()},
        "classical": {name: CLASSICAL[name] for name in MODELS if name in CLASSICAL},
        "search": {name: SEARCHES[name] for name in searches_of(trained_models())},
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
    """Fingerprints of a script and of what builds a network of a model.

    Of the module of this network alone; for functions from files of the user's, also of these files.
    """
    name = settings["network"]["name"]
    own = own_functions(settings).values()
    return {
        **code_version(script, [network_module(name)]),
        name: BUILDERS[name],
        **{function: file_version(function_parts(function)[0]) for function in own},
    }


def submission_modules():
    """Names of the modules that build the networks of the submission."""
    return {network_module(model_settings(config, model)["network"]["name"]) for model in NETWORKS}


def sent():
    """Records of submissions to Kaggle: {path: SHA-256 of its content}.

    A parameter of the report, not an input: requesting a report must never submit anything.
    """
    paths = [Path(result(name)) for name in ("submission-score.json", "scores.json")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()}
