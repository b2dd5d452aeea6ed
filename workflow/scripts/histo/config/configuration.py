"""The whole configuration: all sections, and what they must not contradict in each other."""

import ast
from importlib.util import find_spec
from os.path import exists, isdir, isfile, join
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from histo.config import search_space
from histo.config.apply import Apply
from histo.config.audit import Audit
from histo.config.classical import Classical
from histo.config.dataset import ArchiveSource, Dataset, FolderSource, PcamSource, SyntheticSource
from histo.config.download import Download
from histo.config.feature_map import FeatureMap
from histo.config.folds import Folds
from histo.config.imagenet_weights import ImagenetWeights
from histo.config.index import Index
from histo.config.kaggle import Kaggle
from histo.config.mistakes import explain
from histo.config.overlaps import Overlaps
from histo.config.pcam_download import PcamDownload
from histo.config.predict import Predict
from histo.config.run import Run
from histo.config.search import Search
from histo.config.section import Name, Section
from histo.config.stain import Stain
from histo.config.submission import Submission
from histo.config.submit import Submit
from histo.config.synthesize import Synthesize
from histo.config.track import Track
from histo.config.train import TrainSettings
from histo.config.validate import Validate
from histo.csv_tables import parse_csv
from histo.errors import InputError
from histo.geometry import BLOCK, CENTRE, SIDE
from histo.overrides import changed, require_bounded, with_values
from histo.user_functions import function_parts, own_functions
from histo.zip_paths import split_zip_path

Model = dict[str, Any]  # settings of a model that differ from those of `train`
# The default model; bench/accuracy.md has the measurements.
LITE0: Model = {
    "network": {"name": "efficientnet_lite0", "weights": "imagenet", "frozen_stages": 3, "dropout": 0.2},
    "input_size": 192,
    "normalisation": "imagenet",
    "epochs": 4,
    "batch_size": 32,
    "learning_rate": 0.001,
    "pretrained_learning_rate": 0.0003,
    "weight_decay": 0.2,
    "ema": 0.999,
    "checkpoint": "ema",
    "augment": {"channel_scale": 0.3, "channel_offset": 0.6},
}
PREDEFINED: dict[str, Model] = {"lite0": LITE0, "p4m": {}}  # p4m has the settings of `train`


class Configuration(Section):
    dataset: Dataset = Field(description="Where the tiles come from")
    run: Run = Field(Run(), description="Experiments beside each other")
    kaggle: Kaggle = Field(Kaggle(), description="The competition on Kaggle")
    download: Download = Field(Download(), description="The rule download")
    pcam_download: PcamDownload = Field(PcamDownload(), description="The rule pcam_download, for source: pcam")
    synthesize: Synthesize | None = Field(None, description="The rule synthesize, for source: synthetic")
    index: Index = Field(Index(), description="The rule index")
    validate_: Validate = Field(Validate(), alias="validate", description="The rule validate")
    audit: Audit = Field(Audit(), description="The rule audit")
    overlaps: Overlaps = Field(Overlaps(), description="The rule overlaps")
    folds: Folds = Field(Folds(), description="The rules groups and folds")
    stain: Stain = Field(Stain(), description="The rule stain")
    imagenet_weights: ImagenetWeights = Field(ImagenetWeights(), description="The rule imagenet_weights")
    train: TrainSettings = Field(TrainSettings(), description="What every model starts from")
    models: dict[Name, Model] = Field(
        PREDEFINED, min_length=1, description="Settings of each model that differ from `train`"
    )
    classical: dict[Name, Classical] = Field({}, description="Classical baselines by name")
    search: dict[Name, Search] = Field({}, description="Searches for settings by name")
    predict: Predict = Field(Predict(), description="The rule predict")
    submission: Submission = Field(Submission(), description="What is submitted")
    feature_map: FeatureMap = Field(FeatureMap(), description="The rule feature_map")
    submit: Submit = Field(Submit(), description="The rule submit")
    track: Track = Field(Track(), description="The rule track")
    apply: Apply | None = Field(None, description="The rule apply")


def check(config: dict[str, Any]) -> None:
    """Check all settings and put them into `config`, with their types and defaults.

    Raises InputError with one line per mistake.
    """
    require_bounded("The settings", config, "Write them without aliases of YAML.")
    try:
        settings = Configuration.model_validate(config)
    except ValidationError as error:
        raise _mistakes(explain(error, Configuration)) from None
    config.clear()
    config.update(settings.model_dump(by_alias=True))
    lines = _files(settings) + _names(config)
    if settings.feature_map.method == "umap" and find_spec("umap") is None:
        lines.append(
            "feature_map.method: expected the package umap-learn, found none. Install it (pip install umap-learn), or "
            "set pca."
        )
    for name in config["models"] if not lines else ():
        lines += _model(config, name)
    for name in config["search"] if not lines else ():
        lines += [f"search.{name}.{line}" for line in _search(config, name)]
    if lines:
        raise _mistakes(lines)


def model_settings(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the settings of one model: those of `train`, overridden by its own.

    A model with another network takes none of the network options of `train`. A model that names a search starts
    from what the search's trials start from; its best settings are known only after the trials.
    """
    own = config["models"][name]
    return changed(_search_base(config, own["search"]) if "search" in own else config["train"], own)


def train_settings(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what the rule train knows of a model before the run; `histo.overrides.resolve_search` completes it.

    All settings of the model, or, if it names a search, only its own. Equal settings are equal to the last character,
    in whatever order and with whatever defaults they were written: Snakemake compares them as text.
    """
    own: dict[str, Any] = config["models"][name]
    return own if "search" in own else _complete(model_settings(config, name))


def default_settings(name: str) -> dict[str, Any]:
    """Return all settings of a model without a configuration: of a predefined model its own, else those of `train`."""
    return _complete(changed(TrainSettings().model_dump(), PREDEFINED.get(name, {})))


def search_settings(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what the trials of a search depend on: base, space, sampler, seed, folds; not the number of trials.

    What every trial samples has the first of its possible values in the base, whatever the model says: it changes none.
    """
    settings, base = Search(**config["search"][name]), _complete(_search_base(config, name))
    space = search_space.resolve(settings, base)
    base = with_values(base, {setting: part.probes[0] for setting, part in sorted(settings.space.items())})
    return {"base": base, "space": space, "sampler": settings.sampler, "seed": settings.seed, "folds": settings.folds}


def _complete(settings: dict[str, Any]) -> dict[str, Any]:
    """Return checked settings of a model with all defaults, in the order of the section `train`."""
    return TrainSettings.model_validate(settings).model_dump()


def _mistakes(lines: list[str]) -> InputError:
    return InputError("\n".join(["The settings have mistakes:", *(f"  {line}" for line in lines)]))


def _search_base(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return all settings that the trials of a search start from."""
    search = config["search"][name]
    return changed(model_settings(config, search["model"]), search["settings"])


def _files(settings: Configuration) -> list[str]:
    """Return what is wrong with files and folders that the settings name."""
    lines, dataset, slides = [], settings.dataset, settings.folds.slides
    if isinstance(dataset, ArchiveSource) and not isfile(dataset.archive):
        found = "a folder; for its files write source: folder" if isdir(dataset.archive) else "no such file"
        lines.append(f"dataset.archive: expected the path of a zip, found {found}: {dataset.archive}")
    if isinstance(dataset, FolderSource):
        lines += _folder(dataset.folder)
    if dataset.centre_side > dataset.tile_side:
        lines.append(
            f"dataset.centre_side: expected at most dataset.tile_side, {dataset.tile_side}, found {dataset.centre_side}"
        )
    synthetic = isinstance(dataset, SyntheticSource)
    if synthetic and settings.synthesize is None:
        lines.append("synthesize: missing; source: synthetic needs it. config/demo.yaml shows an example.")
    if isinstance(dataset, PcamSource) and (
        dataset.tile_side, dataset.centre_side, dataset.classes
    ) != (SIDE, CENTRE, 2):  # fmt: skip
        lines.append(
            f"dataset: PatchCamelyon has tile_side {SIDE}, centre_side {CENTRE} and classes 2; remove these settings"
        )
    centre, margin = dataset.centre_side, (dataset.tile_side - dataset.centre_side) // 2
    if synthetic and (centre % BLOCK or margin % BLOCK):
        lines.append(
            f"dataset.centre_side: with source: synthetic, expected a square on the grid of {BLOCK} pixels, found "
            f"{centre} in tiles of {dataset.tile_side}"
        )
    if slides and not isfile(slides) and not (synthetic and slides == f"resources/{dataset.name}/slides.csv"):
        lines.append(f"folds.slides: expected a CSV table with the columns id,slide, found no such file: {slides}")
    if slides and isfile(slides):
        lines += _table_of_slides(slides)
    if settings.apply and not exists(split_zip_path(settings.apply.tiles)[0]):
        expected = "expected a folder, a zip archive or shards"
        lines.append(f"apply.tiles: {expected}, found nothing there: {settings.apply.tiles}")
    if settings.apply and settings.apply.microns_per_pixel and not settings.apply.stride:
        lines.append("apply.stride: expected a number of pixels, as with apply.microns_per_pixel, found none; set 32")
    return lines


def _folder(folder: str) -> list[str]:
    if not isdir(folder):
        found = "a file; for a zip write source: archive" if isfile(folder) else "nothing there"
        return [f"dataset.folder: expected the path of a folder, found {found}: {folder}"]
    missing = [name for name in ("train_labels.csv", "sample_submission.csv") if not isfile(join(folder, name))]
    if missing:
        missing += [f"{name}/" for name in ("train", "test") if not isdir(join(folder, name))]
        wanted = "train/, test/, train_labels.csv and sample_submission.csv"
        found = f"found no {' and no '.join(missing)}"
        return [f"dataset.folder: expected {wanted} in {folder}, {found}. Name the folder of the extracted archive."]
    return []


def _table_of_slides(path: str) -> list[str]:
    """Return what is wrong with encoding and columns, before a job begins that would replace good groups."""
    try:
        next(parse_csv(f"folds.slides: {path}", Path(path).read_bytes(), ["id", "slide"]), None)
    except InputError as error:
        return [str(error)]
    return []


def _names(config: dict[str, Any]) -> list[str]:
    """Return names of models and searches that do not exist or are taken."""
    models, searches, classical = config["models"], config["search"], config["classical"]
    known = ", ".join([*models, *classical])
    lines = [
        f"classical.{name}: a model of `models` has this name; choose another." for name in classical if name in models
    ]
    for name in config["submission"]["models"]:
        if name not in models and name not in classical:
            lines.append(f"submission.models: {name!r} is none of the models. Known: {known}.")
    if config["apply"] and config["apply"]["model"] not in models:
        found = f"expected one of {', '.join(models)}, found {config['apply']['model']!r}"
        lines.append(f"apply.model: {found}. Classical models cannot be applied.")
    for name, own in models.items():
        if "search" in own and own["search"] not in list(searches):
            found = f"Known: {', '.join(searches)}." if searches else "The section `search` is missing."
            lines.append(f"models.{name}.search: {own['search']!r} is none of the searches. {found}")
    for name, search in searches.items():
        if search["model"] not in models:
            lines.append(f"search.{name}.model: {search['model']!r} is none of the models. Known: {', '.join(models)}.")
        elif "search" in models[search["model"]]:
            lines.append(f"search.{name}.model: {search['model']!r} takes its settings from a search; name another.")
        if "search" in search["settings"]:
            lines.append(f"search.{name}.settings.search: no setting of a trial; remove it.")
        lines += [
            f"search.{name}.folds: expected folds from 0 to {config['folds']['count'] - 1}, found {fold!r}."
            for fold in search["folds"]
            if fold >= config["folds"]["count"]
        ]
    return lines


def _model(config: dict[str, Any], name: str) -> list[str]:
    """Return what is wrong with one model; its own settings get their types, in place."""
    own = config["models"][name]
    settings, lines = search_space.typed(model_settings(config, name), f"models.{name}")
    if settings is None:
        return lines
    config["models"][name] = _same_keys(settings | {"search": own.get("search")}, own)
    lines += _crop(config, settings["center_crop"], f"models.{name}")
    for teacher in settings["pseudo_labels"]:
        if teacher not in config["models"] and teacher not in config["classical"]:
            known = ", ".join([*config["models"], *config["classical"]])
            lines.append(f"models.{name}.pseudo_labels: {teacher!r} is none of the models. Known: {known}.")
        elif teacher in config["models"] and model_settings(config, teacher)["pseudo_labels"]:
            lines.append(f"models.{name}.pseudo_labels: {teacher!r} has pseudo_labels itself; name a model without.")
    if config["dataset"]["classes"] > 2:
        if settings["pos_weight"] != 1:
            found = settings["pos_weight"]
            lines.append(f"models.{name}.pos_weight: expected 1 with more than two classes, found {found}.")
        if settings["pseudo_labels"]:
            lines.append(f"models.{name}.pseudo_labels: expected [] with more than two classes.")
    lines += _warm_start(config, name, settings)
    for setting, reference in own_functions(settings).items():
        lines += _function(reference, f"models.{name}.{setting}")
    if settings["network"]["name"] == "timm" and find_spec("timm") is None:
        lines.append(f"models.{name}.network: expected the package timm, found none. Install it: pip install timm.")
    weights = settings["network"].get("weights", "none")
    if weights in ("none", "imagenet") or isfile(weights):
        return lines
    expected = "expected none, imagenet or the path of a file"
    return [*lines, f"models.{name}.network.weights: {expected}, found no such file: {weights}"]


def _warm_start(config: dict[str, Any], name: str, settings: dict[str, Any]) -> list[str]:
    """Return what is wrong with the model whose weights a model starts from."""
    where, source = f"models.{name}.warm_start", settings["warm_start"]
    if source is None:
        return []
    if source not in config["models"]:
        return [f"{where}: {source!r} is none of the networks. Known: {', '.join(config['models'])}."]
    if "search" in config["models"][name] or "search" in config["models"][source]:
        return [f"{where}: expected two models without `search`, found one with it; write its best settings instead."]
    first, _ = search_space.typed(model_settings(config, source), source)
    if first is None:
        return []  # its mistakes have lines of their own
    own, other = (
        {key: value for key, value in one["network"].items() if key not in ("weights", "frozen_stages", "dropout")}
        for one in (settings, first)
    )
    if own != other:
        return [f"{where}: expected the network of {source}, {other}, found {own}."]
    chain = [name]
    while source in config["models"]:
        if source in chain:
            circle = " → ".join([*chain, source])
            return [f"{where}: expected no circle, found {circle}. Start one of them from random weights."]
        chain.append(source)
        following, _ = search_space.typed(model_settings(config, source), source)
        source = following["warm_start"] if following else None
    return []


def _function(reference: str, where: str) -> list[str]:
    """Return what is wrong with a function in a file of the user's, without running it; where: the setting."""
    path, name = function_parts(reference)
    if not isfile(path):
        return [f"{where}: expected path/to/file.py:function, found no such file: {path}"]
    try:
        tree = ast.parse(Path(path).read_bytes(), filename=path)
    except (SyntaxError, ValueError) as error:
        return [f"{where}: {path}: not valid Python ({error})."]
    # A name may also be imported or assigned; only a file that never mentions it is wrong for certain.
    names = {getattr(node, "name", None) for node in ast.walk(tree)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return [] if name in names else [f"{where}: expected a function {name} in {path}, found none."]


def _crop(config: dict[str, Any], crop: Any, where: str) -> list[str]:
    """Return what is wrong with a center_crop, in view of the tiles of the data set; where: the settings it is from."""
    centre, side = config["dataset"]["centre_side"], config["dataset"]["tile_side"]
    if centre <= crop <= side:
        return []
    expected = f"expected {centre} to {side}, dataset.centre_side to dataset.tile_side"
    return [f"{where}.center_crop: {expected}, found {crop}. Set it there or in train."]


def _same_keys(values: Any, keys: Any) -> Any:
    """Return of nested mappings those values whose keys `keys` has too, in the order of `values`."""
    if isinstance(values, dict) and isinstance(keys, dict):
        return {key: _same_keys(value, keys[key]) for key, value in values.items() if key in keys}
    return values


def _search(config: dict[str, Any], name: str) -> list[str]:
    """Return what is wrong with the settings and the space of a search; its choices get their types, in place."""
    base, lines = search_space.typed(_search_base(config, name), "settings")
    if base is None:
        return lines
    if base["warm_start"]:
        return ["settings.warm_start: expected null, since trials run before models are trained; set it to null."]
    search = config["search"][name]
    search["settings"] = _same_keys(base, search["settings"])
    search["space"], lines = search_space.check(Search(**search), base)
    if not lines:
        space = search["space"].get("center_crop", {})
        crops = [
            base["center_crop"],
            *(space.get("choices") or (space[key] for key in ("low", "high") if key in space)),
        ]
        lines = [line for crop in dict.fromkeys(crops) for line in _crop(config, crop, "settings")]
    return lines
