"""Augmentation from a file of the user's; the first one is that of docs/extending.md."""

import re

import pytest
import torch

from histo.augmentation.own import DRAWS, augmented, draws
from histo.errors import InputError
from histo.training.processes import Processes
from support import ROOT

DOCUMENTED = next(
    block
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.S)
    if "def greyscale" in block
)
TILES = torch.arange(15 * 3 * 4 * 4, dtype=torch.float32).view(15, 3, 4, 4) / 720


def own(folder, text):
    (folder / "own.py").write_text(text)
    return f"{folder / 'own.py'}:greyscale"


def test_the_documented_function_changes_a_fifth_of_the_tiles(tmp_path):
    random = draws(seed=1, epoch=1, step=0, batch_size=15)
    found = augmented(own(tmp_path, DOCUMENTED), TILES, random)
    grey = random[:, 0] < 0.2
    assert 0 < grey.sum() < 15
    assert torch.equal(found[~grey], TILES[~grey])
    assert torch.equal(found[grey], TILES[grey].mean(1, keepdim=True).expand(-1, 3, -1, -1))


@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_change_each_tile_as_one(tmp_path, count):
    reference, random = own(tmp_path, DOCUMENTED), draws(1, 2, 3, 15)
    rows = [Processes(rank, count).rows(15) for rank in range(count)]
    parts = [augmented(reference, TILES[part], random[part]) for part in rows]
    assert torch.equal(torch.cat(parts), augmented(reference, TILES, random))


def test_random_numbers_depend_on_seed_epoch_and_step():
    first = draws(1, 2, 3, 15)
    assert first.shape == (15, DRAWS) and first.min() >= 0 and first.max() < 1
    assert 0.4 < draws(1, 2, 3, 1000).mean() < 0.6
    assert torch.equal(first, draws(1, 2, 3, 15))
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        assert not torch.isin(first, draws(*other, 15)).any()


def test_tiles_of_bytes_are_given_from_0_to_1(tmp_path):
    text = "def greyscale(tiles, random):\n    return tiles * 0.5\n"
    found = augmented(own(tmp_path, text), torch.full((2, 3, 4, 4), 51, dtype=torch.uint8), draws(1, 1, 0, 2))
    assert torch.equal(found, torch.full((2, 3, 4, 4), 0.1))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("tiles[:, :1]", r"expected tiles \[15, 3, 4, 4\] of torch.float32, as given, found \[15, 1, 4, 4\]"),
        ("tiles.half()", "found .* of torch.float16"),
        ("None", "found NoneType"),
        ("tiles @ random", r"own\.py \(line 2\) failed with RuntimeError"),
    ],
)
def test_mistakes_name_the_file(tmp_path, body, message):
    with pytest.raises(InputError, match=message):
        augmented(own(tmp_path, f"def greyscale(tiles, random):\n    return {body}\n"), TILES, draws(1, 1, 0, 15))
