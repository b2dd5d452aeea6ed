"""A loss from a file of the user's; the first one is that of docs/extending.md."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from histo.config.configuration import check
from histo.errors import InputError
from histo.networks.network import build
from histo.training.engine import Engine, loss
from support import ROOT
from support.training import settings

DOCUMENTED = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.S)[1]


def write(folder: Path, text: str) -> str:
    (folder / "losses.py").write_text(text)
    return f"{folder / 'losses.py'}:generalised"


def test_the_documented_loss_trains(tmp_path):
    chosen = settings(loss=write(tmp_path, DOCUMENTED))
    logits, labels = torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([0.0, 1.0, 0.25])
    p, y = 1 / (1 + np.exp(-logits.numpy())), labels.numpy()
    expected = (y * (1 - p**0.7) / 0.7 + (1 - y) * (1 - (1 - p) ** 0.7) / 0.7).mean()
    assert loss(logits, labels, chosen).item() == pytest.approx(expected, rel=1e-6)
    assert loss(logits, labels, settings()).item() != pytest.approx(expected, rel=1e-2)

    network = build(chosen.network.model_dump(), 96)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    engine = Engine(network, chosen, torch.device("cpu"), 10)
    value = engine.train_step(torch.randint(0, 256, (4, 3, 96, 96), dtype=torch.uint8), torch.tensor([0.0, 1, 0, 1]))
    assert 0 < value.item() < 1 / 0.7
    assert any(not torch.equal(before[name], value) for name, value in network.named_parameters())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return logits - labels", r"expected the mean over the tiles, a scalar tensor, found \[2\]"),
        ("return 0.5", "expected the mean over the tiles, a scalar tensor, found float"),
        ("return logits @ labels[:1]", r"losses\.py \(line 2\) failed with RuntimeError"),
    ],
)
def test_mistakes_name_the_file(tmp_path, body, message):
    chosen = settings(loss=write(tmp_path, f"def generalised(logits, labels):\n    {body}\n"))
    with pytest.raises(InputError, match=message):
        loss(torch.zeros(2), torch.zeros(2), chosen)


def test_settings_of_the_cross_entropy_are_refused_beside_a_loss(tmp_path):
    def config(**model):
        own = {"loss": write(tmp_path, DOCUMENTED)} | model
        return {
            "dataset": {"name": "small", "source": "kaggle"}, "models": {"p4m": own}, "submission": {"models": ["p4m"]},
        }  # fmt: skip

    check(config())
    with pytest.raises(InputError, match="label_smoothing, pos_weight and focal_gamma are of the cross-entropy"):
        check(config(focal_gamma=2))
    with pytest.raises(InputError, match=r"models\.p4m\.loss: expected a function other in .*losses\.py, found none"):
        check(config(loss=f"{tmp_path / 'losses.py'}:other"))
