"""Settings that change other settings."""

import pytest
import yaml

from histo.errors import InputError
from histo.overrides import changed, complete, merge, place

BASE = {"epochs": 3, "learning_rate": 0.02, "network": {"name": "residual", "width": 8, "blocks": 1, "dropout": 0.0}}


def test_values_find_their_places():
    base = {"epochs": 5, "network": {"name": "n", "filters": [32, 64, 128]}}
    placed = place(base, {"network.filters.1": 80, "epochs": 9, "augment.hue": 0.1})
    assert placed == {
        "epochs": 9, "network": {"name": "n", "filters": [32, 80, 128]}, "augment": {"hue": 0.1},
    }  # fmt: skip
    assert base["network"]["filters"] == [32, 64, 128]
    with pytest.raises(InputError, match=r"expected a place in the list \[32, 64, 128\], from 0 to 2, found '3'"):
        place(base, {"network.filters.3": 80})
    with pytest.raises(InputError, match=r"epochs\.x: no such setting; epochs is 5"):
        place(base, {"epochs.x": 1})


def test_a_model_changes_what_the_search_found(tmp_path):
    best = tmp_path / "fine" / "best.yaml"
    best.parent.mkdir()
    found = BASE
    best.write_text(yaml.safe_dump(found))
    own = {"search": "fine", "epochs": 10, "network": {"dropout": 0.2}}
    made = complete(own, [str(tmp_path / "other" / "best.yaml"), str(best)])
    assert made == merge(found, own)
    assert (made["learning_rate"], made["epochs"], made["network"]["width"]) == (0.02, 10, 8)
    assert complete(BASE, []) == BASE


def test_another_network_takes_no_options():
    assert changed(BASE, {"network": {"name": "plain"}})["network"] == {"name": "plain"}
