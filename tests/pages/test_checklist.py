"""The table of reporting guidelines: what depends on the run."""

import re

import pytest

from histo.pages.checklist import DONE, NOT_DONE, PARTLY, checklist


def items(slides="slides.csv", unknown=0, fraction=1.0, probability=({"mean": 1},), truth=True, saliency=True):
    """The items of a run by topic."""
    config = {"folds": {"slides": slides, "fraction": fraction}}
    found = checklist(
        config, {"unknown_slides": unknown}, {"probability": dict(*probability)}, truth=truth, saliency=saliency
    )
    assert len({item.topic for item in found}) == len(found)
    return {item.topic: item for item in found}


def numbers(text):
    """The item numbers of a text such as "5, 8–10"."""
    found = set()
    for part in text.replace(" ", "").split(","):
        if match := re.fullmatch(r"(\d+)[a-z]?(?:–(\d+)?[a-z]?)?", part):
            found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return found


def test_every_item_is_listed_but_those_of_a_manuscript():
    claim = set().union(*(numbers(item.claim) for item in items().values()))
    tripod = set().union(*(numbers(item.tripod) for item in items().values()))
    assert set(range(1, 45)) - claim == {1, 2, 4, 6}
    assert set(range(1, 28)) - tripod == {1, 2, 4, 9, 24}


@pytest.mark.parametrize(("slides", "unknown", "status"), [("s.csv", 0, DONE), ("s.csv", 3, PARTLY), (None, 0, PARTLY)])
def test_folds_by_slide_are_done_only_where_all_slides_are_known(slides, unknown, status):
    assert items(slides, unknown)["Partitions and their level"].status == status


def test_items_without_probabilities_or_test_labels_are_not_done():
    found = items(probability=())
    for topic in ("Calibration", "Output of the model, thresholds", "Heterogeneity, robustness"):
        assert items()[topic].status == DONE and items()[topic].section
        assert found[topic].status == NOT_DONE and not found[topic].section
        assert found[topic].text == "Computed for probabilities of two classes only."
    assert items()["External validation"].status == PARTLY
    assert items(truth=False)["External validation"].status == NOT_DONE
    assert items()["Explainability"].section == "saliency"
    assert items(saliency=False)["Explainability"].status == NOT_DONE
    assert "uses a sample." in items(fraction=0.1)["Sample size"].text
