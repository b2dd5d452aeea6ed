"""An optimizer from a file of the user's; the first one is that of docs/extending.md."""

import re

import pytest
import torch

from histo.config.configuration import check
from histo.errors import InputError
from histo.networks.network import build
from histo.training.engine import Engine, optimizer
from support import ROOT
from support.training import settings

DOCUMENTED = next(
    block
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.S)
    if "def sgd" in block
)


def own(folder, text):
    (folder / "own.py").write_text(text)
    return settings(optimizer=f"{folder / 'own.py'}:sgd", learning_rate=0.1, schedule="constant", weight_decay=0.5)


def test_the_documented_optimizer_steps_with_the_learning_rate_of_the_schedule(tmp_path):
    chosen = own(tmp_path, DOCUMENTED)
    network = build(chosen.network.model_dump(), 32)
    engine = Engine(network, chosen, torch.device("cpu"), 10)
    found = engine.optimizer
    assert isinstance(found, torch.optim.SGD)
    assert [group["weight_decay"] for group in found.param_groups] == [0.5, 0.0]
    before = [value.detach().clone() for value in network.parameters()]
    engine.train_step(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8), torch.tensor([0.0, 1, 0, 1]))
    for value, start in zip(network.parameters(), before, strict=True):
        decayed = value.grad + (0.5 if value.ndim > 1 else 0.0) * start
        # Nesterov's first step: gradient + momentum · gradient.
        assert torch.allclose(value, start - 0.1 * 1.9 * decayed, atol=1e-6)


def test_groups_of_its_own_take_the_learning_rate_of_the_schedule(tmp_path):
    text = "import torch\ndef sgd(groups, settings):\n"
    text += "    return torch.optim.SGD([p for group in groups for p in group['params']], lr=1)\n"
    chosen = own(tmp_path, text)
    assert [group["factor"] for group in optimizer(build(chosen.network.model_dump(), 32), chosen).param_groups] == [
        1.0
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return None", "expected a torch.optim.Optimizer, found NoneType"),
        (
            "return torch.optim.SGD(groups[:1], lr=1)",
            r"expected an optimizer of all \d+ trainable parameters, found one",
        ),
        ("return torch.optim.SGD(groups, lr=-1)", r"own\.py \(line 3\) failed with ValueError"),
    ],
)
def test_mistakes_name_the_file(tmp_path, body, message):
    chosen = own(tmp_path, f"import torch\ndef sgd(groups, settings):\n    {body}\n")
    with pytest.raises(InputError, match=message):
        optimizer(build(chosen.network.model_dump(), 32), chosen)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"optimizer": "sgd"}, r"models\.p4m\.optimizer: expected text of the form \^\(adamw\|adam\|.*, found 'sgd'"),
        ({"optimizer": "none.py:sgd"}, r"models\.p4m\.optimizer: expected .*, found no such file: none\.py"),
        ({"augmentation": "none.py:grey"}, r"models\.p4m\.augmentation: expected .*, found no such file: none\.py"),
    ],
)
def test_the_settings_are_checked_before_the_run(own, message):
    config = {
        "dataset": {"name": "small", "source": "kaggle"}, "models": {"p4m": own}, "submission": {"models": ["p4m"]},
    }  # fmt: skip
    with pytest.raises(InputError, match=message):
        check(config)
