"""Networks as the settings know them: in step with what builds them."""

import inspect

import pytest
from pydantic import TypeAdapter

from histo.config.network import TOO_COARSE, Network
from histo.networks.names import OWN, TORCHVISION
from histo.networks.network import builder

NETWORK = TypeAdapter(Network)


@pytest.mark.parametrize("name", OWN)
def test_options_are_the_arguments_of_the_builder(name):
    parameters = inspect.signature(builder(name)).parameters.values()
    arguments = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
    options = NETWORK.validate_python({"name": name}).model_dump(exclude={"name", "weights"})
    assert options.keys() == arguments.keys()
    for key, default in arguments.items():
        if default is not inspect.Parameter.empty:
            assert options[key] == (list(default) if isinstance(default, tuple) else default)


def test_all_names_are_known():
    members = TypeAdapter(Network).json_schema()["discriminator"]["mapping"]
    assert set(members) == {*OWN, *TORCHVISION, "custom", "timm"} - set(TOO_COARSE)


def test_a_network_of_torchvision_starts_from_random_weights():
    assert NETWORK.validate_python({"name": "resnet18"}).model_dump() == {"name": "resnet18", "weights": "none"}
