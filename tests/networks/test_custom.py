"""Networks from a file of the user's; the first one is that of docs/extending.md."""

import re
from pathlib import Path

import pytest
import torch

from histo.errors import InputError
from histo.geometry import Geometry
from histo.networks.network import build
from histo.provenance import file_version
from histo.training.engine import Engine
from support.training import settings

DOCUMENTED = re.search(r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "extending.md").read_text(), re.S)


def write(folder: Path, text: str) -> str:
    (folder / "mine.py").write_text(text)
    return str(folder / "mine.py")


def custom(builder: str, **options) -> dict:
    return {"name": "custom", "builder": builder, "options": options}


def test_the_documented_network_trains(tmp_path):
    assert DOCUMENTED is not None
    builder = write(tmp_path, DOCUMENTED[1]) + ":small_cnn"
    chosen = settings(network=custom(builder, width=8))
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(build(chosen.network.model_dump(), 96))
    first, second = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["body.0.weight"].shape == (8, 3, 3, 3)
    before = first["body.0.weight"].clone()
    engine = Engine(networks[0], chosen, torch.device("cpu"), 10)
    loss = engine.train_step(torch.randint(0, 256, (4, 3, 96, 96), dtype=torch.uint8), torch.tensor([0.0, 1, 0, 1]))
    assert loss.item() > 0
    assert not torch.equal(networks[0].state_dict()["body.0.weight"], before)
    four = build(custom(builder, width=8), 64, Geometry(tile_side=64, classes=4))
    assert four(torch.zeros(2, 3, 64, 64)).shape == (2, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"no such file: .*mine\.py\. Run Snakemake where the path leads to it"),
        ("x = 1\nraise RuntimeError('boom')\n", r"mine\.py \(line 2\) failed with RuntimeError: boom"),
        ("def other(size, outputs): pass\n", "expected a function net in .*mine.py, found none"),
        ("def net(size):\n    pass\n", r"failed with TypeError: net\(\) takes 1 positional argument but 2 were given"),
        ("def net(size, outputs):\n    return 3\n", r"expected a torch\.nn\.Module, found int"),
        (
            "from torch import nn\ndef net(size, outputs):\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(7))\n",
            r"expected logits \[2, 1\] for tiles \[2, 3, 96, 96\], found \[2, 7\]",
        ),
        (
            "from torch import nn\ndef net(size, outputs):\n    return nn.Linear(5, 1)\n",
            "failed with RuntimeError: mat1",
        ),
    ],
)
def test_mistakes_name_the_file(tmp_path, text, message):
    builder = f"{write(tmp_path, text) if text else tmp_path / 'mine.py'}:net"
    with pytest.raises(InputError, match=message):
        build(custom(builder), 96)


def test_comments_and_docstrings_do_not_count(tmp_path):
    first = file_version(write(tmp_path, "def net(size, outputs):\n    return size\n"))
    assert file_version(write(tmp_path, 'def net(size, outputs):\n    """Two."""\n    return size  # 2\n')) == first
    assert file_version(write(tmp_path, "def net(size, outputs):\n    return size + 1\n")) != first
