"""Settings of a training job whose model takes them from a search."""

import pytest
import yaml

from histo.config.train import TrainSettings
from histo.errors import InputError
from support.training import settings
from train import train_settings


@pytest.fixture
def best(tmp_path):
    path = tmp_path / "rates" / "best.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(settings(learning_rate=0.003).model_dump()))
    return path


def test_settings_of_the_search_and_of_the_model(best):
    found = train_settings({"search": "rates", "epochs": 7}, [str(best)])
    assert found == TrainSettings(**settings(learning_rate=0.003).model_dump() | {"epochs": 7})


def test_values_of_the_search_that_are_no_settings_are_named(best):
    values = yaml.safe_load(best.read_text()) | {"epochs": "many", "colour": 1}
    best.write_text(yaml.safe_dump(values))
    with pytest.raises(InputError) as caught:
        train_settings({"search": "rates"}, [str(best)])
    message = str(caught.value)
    assert message.startswith(f"{best}: expected settings of a model, found ")
    assert "epochs: " in message and "colour: " in message
    assert message.endswith("Delete the file and run again.")
