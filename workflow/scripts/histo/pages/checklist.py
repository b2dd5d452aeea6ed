"""What a report of a study with a prediction model on images should say, and where the page says it.

Items of CLAIM, the Checklist for Artificial Intelligence in Medical Imaging (2024 update: Tejani et al., Radiology:
Artificial Intelligence 6(4):e240300), and of TRIPOD+AI (Collins et al. 2024, BMJ 385:e078378). Many items concern
patients and the people behind a study, of which a data set of tiles says nothing: they are listed as not done.
"""

from dataclasses import dataclass
from typing import Any

DONE, PARTLY, NOT_DONE = "done", "partly", "not done"
NO_PATIENTS = "The files do not hold it; see the publication of the data set."


@dataclass(frozen=True)
class Item:
    """A topic with its item numbers, whether it is done, how, and the section of the page that shows it, if any."""

    topic: str
    claim: str
    tripod: str
    status: str
    text: str
    section: str = ""


def checklist(
    config: dict[str, Any], data: dict[str, Any], ensemble: dict[str, Any], *, truth: bool, saliency: bool
) -> list[Item]:
    """Return the items in the order of TRIPOD+AI; config: of the run; data: see `report.data_section`.

    ensemble: the summary of the stage `ensemble`; truth: whether labels of the test tiles are known; saliency: whether
    the page has maps of saliency.
    """
    rated = bool(ensemble["probability"])
    unrated = (NOT_DONE, "Computed for probabilities of two classes only.")
    slides_known = bool(config["folds"]["slides"]) and not data["unknown_slides"]
    sample = "" if config["folds"]["fraction"] == 1 else " The setting folds.fraction uses a sample."
    labels = "Labels of the test tiles are of the same data set" if truth else "Labels of the test tiles are unknown"
    return [
        Item("Intended use and users", "3, 41", "3a–b", DONE, "No place in a clinical pathway is claimed.", "use"),
        Item("Fairness, health inequalities", "–", "3c, 14", NOT_DONE, NO_PATIENTS),
        Item("Source of the data", "7", "5a", DONE, "Data set, path, fingerprint of the tiles.", "made"),
        Item("Dates, centres, eligibility, treatment", "5, 8", "5b, 6", NOT_DONE, NO_PATIENTS),
        Item("Preparation and exclusion of data", "9, 10", "7", DONE, "Faults, quality flags, duplicates.", "data"),
        Item("De-identification", "11", "–", NOT_DONE, "A tile has pixels, and an id that is a hash."),
        Item("Image acquisition", "13", "–", NOT_DONE, NO_PATIENTS),
        Item("Definition of the label, annotators", "14–18", "8", NOT_DONE, "Labels are used as they are given."),
        Item("Sample size", "21", "10", NOT_DONE, f"Not calculated; all usable tiles are the data.{sample}"),
        Item("Missing data", "12", "11", DONE, "Tiles without a label, or without a prediction, are counted.", "data"),
        Item("Partitions and their level", "19, 20", "12a", DONE if slides_known else PARTLY,
             f"Tiles with shared tissue or of one {'' if slides_known else 'known '}slide are in one fold.", "data"),
        Item("Model, initial weights, software", "22–24", "12c, 12g, 22", DONE, "Settings, versions, code.", "made"),
        Item("Training, choice of the final model", "25–27", "12c", DONE, "Learning curves, kept epochs.", "training"),
        Item("Measures of performance", "28", "12e", DONE, "AUC, average precision, rates.", "results"),
        Item("Calibration", "–", "12e",
             *((DONE, "Curve, slope, intercept.", "calibration") if rated else unrated)),
        Item("Class imbalance", "–", "13", DONE, "Proportions by fold, weight of positive tiles.", "data"),
        Item("Output of the model, thresholds", "–", "15",
             *((DONE, "Thresholds chosen on the other folds.", "thresholds") if rated else unrated)),
        Item("Development and evaluation data compared", "–", "16, 20c", DONE, "Train versus test, in audit.html."),
        Item("Ethics, funding, interests, patients involved", "44", "17, 18a–b, 19", NOT_DONE, "For authors to state."),
        Item("Protocol, registration", "34, 42", "18c–d", NOT_DONE, "For authors to state."),
        Item("Availability of data and code", "43", "18e–f", DONE, "Command, commit, numbers as files.", "made"),
        Item("Flow of the tiles", "35", "20a, 21", DONE, "Listed, used, excluded.", "data"),
        Item("Characteristics of the patients", "36", "20b", NOT_DONE, NO_PATIENTS),
        Item("Performance with uncertainty", "29, 37, 38", "23a", DONE, "95 % confidence intervals.", "results"),
        Item("Heterogeneity, robustness", "30", "12d, 23b",
             *((DONE, "By group and by appearance of the tiles.", "failures") if rated else unrated)),
        Item("Explainability", "31", "–",
             *((DONE, "Attribution to pixels.", "saliency") if saliency else (NOT_DONE, "No model is a network."))),
        Item("Analysis of failures", "39", "–", DONE, "Largest errors as pictures, all as a table.", "errors"),
        Item("Evaluation on internal data", "32", "–", DONE, "Out-of-fold predictions of all tiles.", "results"),
        Item("External validation", "33", "–", PARTLY if truth else NOT_DONE, f"{labels}; no other institution.",
             "submission" if truth else ""),
        Item("Interpretation, limits", "40", "25, 26", DONE, "Warnings by weight, limits of use.", "use"),
        Item("Poor or unusual input", "–", "27a", PARTLY, "Quality flags; the target apply flags unusual tiles."),
        Item("Expertise of users, further research", "–", "27b–c", NOT_DONE, "For authors to state."),
    ]  # fmt: skip
