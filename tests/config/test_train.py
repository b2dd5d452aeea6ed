"""Settings of a model that contradict each other."""

import pytest
from pydantic import ValidationError

from histo.config.train import TrainSettings


def test_the_defaults_agree():
    settings = TrainSettings()
    assert settings.network.name == "p4m_residual"
    assert TrainSettings(**settings.model_dump()) == settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augment": {"mixup": 0.6, "cutmix": 0.5}}, "at most 1 together"),
        ({"checkpoint": "ema"}, "checkpoint: ema needs ema above 0"),
        ({"network": {"name": "center32_3conv"}}, "set center_crop: 32"),
        ({"network": {"name": "resnet18", "weights": "imagenet"}}, "set normalisation: imagenet"),
    ],
)
def test_contradictions_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        TrainSettings(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"augment": {"mixup": 0.5, "cutmix": 0.5}},
        {"checkpoint": "ema", "ema": 0.99},
        {"network": {"name": "center32_3conv"}, "center_crop": 32},
        {"network": {"name": "resnet18", "weights": "imagenet"}, "normalisation": "imagenet"},
        {"network": {"name": "resnet18"}, "normalisation": "tiles"},
    ],
)
def test_what_agrees_is_taken(settings):
    TrainSettings(**settings)
