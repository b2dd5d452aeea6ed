"""Settings that change other settings."""

import pytest
import yaml

from histo.errors import InputError
from histo.overrides import by_recipe, changed, merge, resolve_search, with_values

BASE = {"epochs": 3, "learning_rate": 0.02, "network": {"name": "residual", "width": 8, "blocks": 1, "dropout": 0.0}}


def test_values_are_replaced_by_dotted_name():
    base = {"epochs": 5, "network": {"name": "n", "filters": [32, 64, 128]}}
    result = with_values(base, {"network.filters.1": 80, "epochs": 9, "augment.hue": 0.1})
    assert result == {
        "epochs": 9, "network": {"name": "n", "filters": [32, 80, 128]}, "augment": {"hue": 0.1},
    }  # fmt: skip
    assert base["network"]["filters"] == [32, 64, 128]
    with pytest.raises(InputError, match=r"expected an index into \[32, 64, 128\], from 0 to 2, found '3'"):
        with_values(base, {"network.filters.3": 80})
    with pytest.raises(InputError, match=r"epochs\.x: no such setting; epochs is 5"):
        with_values(base, {"epochs.x": 1})


def test_models_that_differ_in_the_seed_alone_are_one_recipe():
    models = {
        "a": BASE | {"seed": 1}, "wide": merge(BASE, {"seed": 2, "network": {"width": 9}}), "b": BASE | {"seed": 2},
        "forest": {"method": "random_forest", "seed": 1}, "searched": {"search": "s", "seed": 1},
    }  # fmt: skip
    assert by_recipe(models) == [["a", "b"], ["wide"], ["forest"], ["searched"]]


def test_a_model_overrides_what_its_search_found(tmp_path):
    best = tmp_path / "fine" / "best.yaml"
    best.parent.mkdir()
    found = BASE
    best.write_text(yaml.safe_dump(found))
    own = {"search": "fine", "epochs": 10, "network": {"dropout": 0.2}}
    result = resolve_search(own, [str(tmp_path / "other" / "best.yaml"), str(best)])
    assert result == merge(found, own)
    assert (result["learning_rate"], result["epochs"], result["network"]["width"]) == (0.02, 10, 8)
    assert resolve_search(BASE, []) == BASE


def test_another_network_takes_no_network_options():
    assert changed(BASE, {"network": {"name": "plain"}})["network"] == {"name": "plain"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "a: [",
        "!!python/object/apply:os.system ['true']",
        "&a [*a]",
        "epochs: 3",
        "network: residual",
        "\xff\xfe",
    ],
    ids=["empty", "list", "cut", "tag", "itself", "no network", "no options", "bytes"],
)
def test_damaged_best_settings_are_named(tmp_path, text):
    best = tmp_path / "fine" / "best.yaml"
    best.parent.mkdir()
    best.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"fine/best\.yaml: expected .* Delete the file and run again"):
        resolve_search({"search": "fine"}, [str(best)])
