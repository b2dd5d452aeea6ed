"""What the report is made from: the files of other stages, and what they hold."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from histo import tables
from histo.files import read_json
from histo.geometry import Geometry
from histo.pages.gallery import Shards
from histo.pages.report_results import class_names
from histo.predictions import join_folds
from histo.tiles.shards import geometry_of, open_shards


@dataclass(frozen=True)
class ReportInputs:
    """The files that the report reads; histories, trainings and predictions (out-of-fold): of each model, one per fold.

    trainings: `training.json` of the networks; classical models have none, and the report then omits number of
    parameters, device and precision. saliency, feature_maps: of each network; without any, the report has no such
    section. ensemble_by_stain: None if the ensemble was not evaluated on folds by stain.
    """

    template: Path
    layout: Path
    audit: Path
    tiles: Path
    overlaps: Path
    overlaps_summary: Path
    groups: Path
    folds: Path
    folds_summary: Path
    train_shards: list[Path]
    test_shards: list[Path]
    histories: dict[str, list[Path]]
    trainings: dict[str, list[Path]]
    evaluations: list[Path]
    evaluations_by_stain: list[Path]
    ensemble: Path
    oof: Path
    predictions: dict[str, list[Path]]
    submission: Path
    ensemble_by_stain: Path | None = None
    saliency: dict[str, Path] = field(default_factory=dict)
    feature_maps: dict[str, Path] = field(default_factory=dict)

    @property
    def summaries(self) -> list[Path]:
        """JSON files of other stages whose numbers the report links."""
        own = [self.ensemble, self.submission, self.audit, self.folds_summary]
        by_stain = [*self.evaluations_by_stain, *([self.ensemble_by_stain] if self.ensemble_by_stain else [])]
        return [*self.evaluations, *by_stain, *own]


@dataclass(frozen=True)
class ReportContents:
    """What the files of `ReportInputs` hold.

    pairs: the confirmed ones; predictions: out-of-fold probabilities of each model, [N] or [N, classes], sorted by id;
    evaluations: with the number of parameters and the hardware of the model, None and empty if not known.
    """

    shards: Shards
    tiles: pd.DataFrame
    folds: pd.DataFrame
    groups: pd.DataFrame
    pairs: pd.DataFrame
    oof: pd.DataFrame
    predictions: dict[str, np.ndarray]
    histories: dict[str, list[pd.DataFrame]]
    saliency: dict[str, pd.DataFrame]
    feature_maps: dict[str, pd.DataFrame]
    audit: dict[str, Any]
    folds_summary: dict[str, Any]
    overlaps_summary: dict[str, Any]
    evaluations: list[dict[str, Any]]
    evaluations_by_stain: list[dict[str, Any]]
    ensemble: dict[str, Any]
    ensemble_by_stain: dict[str, Any] | None
    submission: dict[str, Any]

    @property
    def geometry(self) -> Geometry:
        return geometry_of(self.shards["train"])

    @property
    def names(self) -> dict[int, str]:
        """The name of each label."""
        return class_names(self.geometry.classes)

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The evaluations that the report shows: those of the models, and that of the ensemble if it differs."""
        # With a single model the ensemble equals the model, unless its probabilities become ranks.
        if len(self.evaluations) == 1 and self.ensemble["method"] != "rank_mean":
            return self.evaluations
        return [*self.evaluations, self.ensemble | {"parameters": None, "hardware": []}]

    @property
    def guesses(self) -> dict[str, pd.Series]:
        """The predicted labels of each model, by id."""
        ids = sorted(self.folds["id"])
        return {
            model: pd.Series(values.argmax(axis=1) if values.ndim == 2 else (values >= 0.5).astype(int), ids)
            for model, values in self.predictions.items()
        }


def read_inputs(inputs: ReportInputs) -> ReportContents:
    """Read all files but the templates; raises InputError for a file of wrong form."""
    shards = {"train": open_shards(inputs.train_shards, "train"), "test": open_shards(inputs.test_shards, "test")}
    geometry = geometry_of(shards["train"])
    folds = tables.read(inputs.folds, tables.FOLDS)
    pairs = tables.read(inputs.overlaps, tables.OVERLAPS)
    columns = ["id", "split", "shard", "row", "label", "kept", "fault", "detail"]
    saliency = tables.saliency(geometry.tile_side)
    return ReportContents(
        shards=shards,
        tiles=tables.read(inputs.tiles, tables.TILES, columns),
        folds=folds,
        groups=tables.read(inputs.groups, tables.GROUPS),
        pairs=pairs[pairs["confirmed"]],
        oof=tables.read(inputs.oof, tables.probabilities(geometry.classes)),
        predictions={
            model: tables.probability_values(join_folds(paths, folds)) for model, paths in inputs.predictions.items()
        },
        histories={model: [pd.read_csv(path) for path in paths] for model, paths in inputs.histories.items()},
        saliency={model: tables.read(path, saliency) for model, path in inputs.saliency.items()},
        feature_maps={model: tables.read(path, tables.FEATURE_MAP) for model, path in inputs.feature_maps.items()},
        audit=read_json(inputs.audit),
        folds_summary=read_json(inputs.folds_summary),
        overlaps_summary=read_json(inputs.overlaps_summary),
        evaluations=[with_training(read_json(path), inputs.trainings) for path in inputs.evaluations],
        evaluations_by_stain=[read_json(path) for path in inputs.evaluations_by_stain],
        ensemble=read_json(inputs.ensemble),
        ensemble_by_stain=read_json(inputs.ensemble_by_stain) if inputs.ensemble_by_stain else None,
        submission=read_json(inputs.submission),
    )


def with_training(evaluation: dict[str, Any], trainings: dict[str, list[Path]]) -> dict[str, Any]:
    """Return an evaluation with the number of parameters and the hardware of its model; trainings: `ReportInputs`."""
    runs = [read_json(path) for path in trainings.get(evaluation["model"], [])]
    return evaluation | {
        "parameters": runs[0]["parameters"] if runs else None,
        "hardware": sorted({f"{run['device']}, {run['precision']}" for run in runs}),
    }
