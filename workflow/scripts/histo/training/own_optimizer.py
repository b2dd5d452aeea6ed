"""An optimizer that a function in a Python file of the user's builds."""

from typing import Any

import torch

from histo.config.train import TrainSettings
from histo.errors import InputError
from histo.user_functions import failure, load_function

SETTING = "optimizer"


def own_optimizer(reference: str, groups: list[dict[str, Any]], settings: TrainSettings) -> torch.optim.Optimizer:
    """Call `function(groups, settings)` of a file and return the optimizer that it builds.

    groups: of all trainable parameters, see `histo.training.engine.parameter_groups`; the function gets all settings of
    the model as a dict. Groups of its own take the learning rate of the schedule, without a factor. Raises InputError
    if the file or the function fails, or if the result is no optimizer of all these parameters.
    """
    function = load_function(reference, SETTING)
    expected = {id(parameter) for group in groups for parameter in group["params"]}
    try:
        optimizer = function(groups, settings.model_dump())
    except Exception as error:  # whatever the user's code raises
        raise failure(reference, SETTING, error) from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        found = type(optimizer).__name__
        raise InputError(f"{SETTING} {reference}: expected a torch.optim.Optimizer, found {found}.")
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if held != expected:
        raise InputError(
            f"{SETTING} {reference}: expected an optimizer of all {len(expected)} trainable parameters, found one of "
            f"{len(held & expected)} of them and of {len(held - expected)} other tensors."
        )
    for group in optimizer.param_groups:
        group.setdefault("factor", 1.0)
    return optimizer
