"""Options of networks, as they are known before a network can be built."""

import inspect

import pytest

from histo.config.network_options import OPTIONS, WITH_DEFAULTS, fault, name_fault
from histo.networks.network import BODIES


@pytest.mark.parametrize("name", BODIES)
def test_they_are_those_that_the_network_takes(name):
    options = [
        option for option in inspect.signature(BODIES[name]).parameters.values() if option.kind is option.KEYWORD_ONLY
    ]
    assert {option.name for option in options} == set(OPTIONS.get(name, ()))
    assert all((option.default is not option.empty) == (name in WITH_DEFAULTS) for option in options)


def test_a_name_that_is_none_is_told_with_the_nearest():
    assert "found 'resnet43'; did you mean resnet34" in name_fault("resnet43")
    assert name_fault("swin_t") is name_fault("residual") is None


def test_what_fits_is_no_fault():
    assert fault({"name": "p4m_residual", "width": 16, "blocks": 1, "hidden": 8, "dropout": 0.0}) is None
    assert fault({"name": "batchnorm_gap", "dense": 64}) is None
    assert fault({"name": "resnet18", "weights": "imagenet"}) is None
    assert fault({"name": "plain_2conv"}) is None
