"""What a reader of the report must know first: one sentence on the AUC, and warnings by weight."""

import re
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from histo.statistics.comparison import p_of_decrease, p_of_difference

# Weights of warnings, the heaviest first.
BIASES, PREDICTIONS, DATA = WEIGHTS = ("May bias the AUC", "Concerns single predictions", "For information")
SIGNIFICANT = 0.05  # highest probability of a false alarm
FAR_MEAN = 0.05  # smallest difference of mean probabilities that is worth a warning


@dataclass(frozen=True)
class Finding:
    """A warning: one of `WEIGHTS`, the section of the page with the details, and a sentence or two.

    Names of settings are between backticks in the text.
    """

    weight: str
    section: str
    text: str

    def __html__(self) -> str:
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(self.text)))
        return Markup('<b>{}.</b> {} <a href="#{}">Details</a>').format(self.weight, Markup(text), self.section)


def warnings(
    config: dict[str, Any],
    models: dict[str, dict[str, Any]],
    data: dict[str, Any],
    ensemble: dict[str, Any],
    submission: dict[str, Any],
) -> list[Finding]:
    """Return what a reader must know before using the results, by weight.

    data: from `data_section`; ensemble, submission: the summaries of these stages.
    """
    audit = data["audit"]
    found: list[Finding] = []

    def warn(weight: str, section: str, text: str) -> None:
        found.append(Finding(weight, section, text))

    two_classes = config["dataset"].get("classes", 2) == 2
    faulty = {split: audit["tiles"][split] - audit["kept"][split] for split in ("train", "test")}
    faulty["train"] -= sum(audit["left_out"].values())
    if any(faulty.values()):
        warn(
            DATA,
            "data",
            f"Tiles excluded because of a fault: {faulty['train']:,} training and {faulty['test']:,} test tiles.",
        )
    if any(audit["left_out"].values()):
        listed = ", ".join(f"{count:,} {flag}" for flag, count in audit["left_out"].items())
        warn(DATA, "data", f"Training tiles excluded by the setting `audit.leave_out`: {listed}.")
    if submission["filled"]:
        warn(
            PREDICTIONS,
            "submission",
            f"Test tiles without a prediction: {len(submission['filled']):,}. In the submission they have the "
            + (
                f"proportion of positive training tiles, {submission['filled_value']:.4f}."
                if two_classes
                else "proportion of each class in the training tiles."
            ),
        )
    if config["folds"]["fraction"] < 1:
        used = sum(row["tiles"] for row in data["folds"])
        warn(
            DATA,
            "data",
            f"Only {used:,} of {audit['kept']['train']:,} training tiles are used, by the setting `folds.fraction`.",
        )
    if not config["folds"]["slides"]:
        warn(
            BIASES,
            "data",
            "No table of slides is given (`folds.slides`), so only tiles that share pixels are kept in one fold. "
            "Training and validation may contain other tiles of the same slide, and the out-of-fold AUC may "
            "overestimate the AUC on new slides.",
        )
    elif data["unknown_slides"]:
        warn(
            BIASES,
            "data",
            f"The slide of {data['unknown_slides']:,} of {audit['kept']['train']:,} training tiles is unknown. "
            "If tiles of one slide are in different folds, the out-of-fold AUC may overestimate the AUC on new slides.",
        )
    if audit["in_both_splits"]:
        warn(BIASES, "data", f"Images that are in both the training and the test set: {audit['in_both_splits']:,}.")
    if data["overlaps"]["between"]:
        warn(
            BIASES,
            "data",
            f"Pairs of a training and a test tile that share tissue: {data['overlaps']['between']:,}. Some slides are "
            "in both sets, and the AUC on the test tiles may overestimate the AUC on new slides.",
        )
    best = [name for name, settings in models.items() if settings.get("checkpoint") == "best"]
    if best:
        warn(
            BIASES,
            "training",
            f"{', '.join(best)}: the epoch was chosen by validation AUC, so the out-of-fold AUC is optimistically "
            "biased.",
        )
    searched = [name for name, settings in models.items() if "search" in settings]
    if searched:
        warn(
            BIASES,
            "made",
            f"{', '.join(searched)}: a search chose the settings by validation AUC on folds that are evaluated here, "
            "so the out-of-fold AUC is optimistically biased.",
        )
    if not config["validate"]["id_is_sha1"]:
        warn(
            DATA,
            "data",
            "The pixels were not checked against the SHA-1 in the tile ids (`validate.id_is_sha1` is off).",
        )
    if (
        two_classes
        and "truth" in submission
        and (p := p_of_harder_test(ensemble, submission["truth"])) < SIGNIFICANT / 2
    ):
        warn(
            BIASES,
            "submission",
            f"The AUC on the held-out test labels, {submission['truth']['auc']:.4f}, is below the out-of-fold AUC, "
            f"{ensemble['auc']:.4f}, by more than both errors explain (one-sided p = {p:.2g}). The out-of-fold AUC may "
            "be too optimistic, or the test tiles may be harder.",
        )
    if ensemble["probability"]:
        found += mean_warning(ensemble, submission)
    return sorted(found, key=lambda one: WEIGHTS.index(one.weight))


def verdict(
    config: dict[str, Any],
    data: dict[str, Any],
    ensemble: dict[str, Any],
    submission: dict[str, Any],
    found: list[Finding],
) -> str:
    """Return one sentence that says what the out-of-fold AUC stands for; found: the warnings, see `warnings`."""
    sentence = (
        f"On tiles that the networks were not trained on, the AUC is {ensemble['auc']:.4f} (95 % CI "
        f"{ensemble['auc_low']:.4f} to {ensemble['auc_high']:.4f})"
    )
    if not config["folds"]["slides"]:
        sentence += "; slides are unknown, so it may be too high for new slides"
    elif data["unknown_slides"]:
        sentence += "; some slides are unknown, so it may be too high for new slides"
    else:
        sentence += "; the slides of these tiles were not in training either"
    if "truth" in submission:
        sentence += f"; on the held-out test tiles it is {submission['truth']['auc']:.4f}"
    biases = sum(one.weight == BIASES for one in found)
    if biases:
        sentence += f"; {biases} of the warnings below may bias it"
    return sentence + "."


def p_of_harder_test(ensemble: dict[str, Any], truth: dict[str, Any]) -> float:
    """Return the one-sided p value of test tiles on which the AUC is as high as out-of-fold.

    The slides of test tiles are unknown. The variance of their AUC is therefore at least that of independent tiles
    times the design effect of the groups of training tiles.
    """
    error = max(truth["auc_error"], truth["auc_error_tiles"] * ensemble["design_effect"] ** 0.5)
    degrees = min(truth["auc_degrees"], ensemble["auc_degrees"])
    return p_of_decrease(
        (ensemble["auc"], ensemble["auc_error"], ensemble["auc_degrees"]), (truth["auc"], error, degrees)
    )


def mean_warning(ensemble: dict[str, Any], submission: dict[str, Any]) -> list[Finding]:
    """Return a warning where the mean probability of the test tiles is far from that of the training tiles.

    Far is a difference of at least `FAR_MEAN` that the spread between groups of training tiles does not explain.
    """
    mean = ensemble["probability"]["mean"]
    difference = submission["mean"] - mean["value"]
    if mean["low"] is None or submission["rows"] == 0 or abs(difference) < FAR_MEAN:
        return []
    error, degrees = mean["error"], mean["degrees"]
    share = (ensemble["tiles"] / submission["rows"]) ** 0.5  # the error of as many groups as the test tiles may have
    p = p_of_difference(difference, error * (1 + share**2) ** 0.5, degrees)
    if p >= SIGNIFICANT / 2:  # half, since few slides of the test tiles spread more than the error says
        return []
    text = (
        f"The mean probability of the submission is {submission['mean']:.3f}; out-of-fold it is {mean['value']:.3f} "
        f"(p = {p:.2g} by the spread between groups of tiles). The proportion of tumour may differ in the test tiles, "
        "or the networks may be calibrated differently there. The AUC does not depend on it, a threshold does."
    )
    return [Finding(PREDICTIONS, "submission", text)]
