"""Predict tiles with the networks of a model, as the workflow predicts its test tiles.

The tiles are written to a temporary shard, from which the loader reads them: the way of a tile to the network is that
of the workflow, the order of the batches included. With the threads of the model, equal tiles get equal probabilities,
bit by bit.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from histo import tables
from histo.apply.flags import ColourReference, flags, measurements
from histo.apply.images import Images, Pixels
from histo.errors import InputError
from histo.files import atomic_write, read_json
from histo.geometry import Geometry
from histo.logits import logit, sigmoid
from histo.networks.network import Network
from histo.tiles.shards import Shard, write_shard
from histo.tiles.stain_normalisation import normalise
from histo.training import checkpoints
from histo.training.devices import claim_device, reproducible
from histo.training.loader import TileLoader
from histo.training.prediction import predictions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedNetwork:
    """A network and what its weights file says of it."""

    network: Network
    settings: dict[str, Any]


class Model:
    """The networks of a model on one device, with the test-time augmentation that it was evaluated with.

    Attributes: geometry (of the tiles), stain (whether they are stain-normalised), temperature (of the calibration,
    None without one).
    """

    def __init__(
        self,
        weights: list[Path],
        evaluation: Path,
        device: torch.device,
        *,
        tta: str,
        average: str,
    ) -> None:
        """weights: of the networks; evaluation: metrics of the model, from `evaluate`; tta, average: see `predictions`.

        Raises InputError if a file is missing or unusable, or if the networks differ in the tiles they expect.
        """
        self._tta, self._average, self._device = tta, average, device
        metrics = read_json(evaluation)
        found = (metrics.get("probability") or {}).get("temperature")
        self.temperature: float | None = found["temperature"] if found else None
        self._networks = []
        expected: tuple[Geometry, str | None] | None = None
        for path in weights:
            checkpoint = checkpoints.load(path)
            settings = checkpoint["settings"]
            own = Geometry(**checkpoint["geometry"]), settings.get("stain")
            if expected not in (None, own):
                raise InputError(
                    f"{path}: expected a network for the tiles of {weights[0]}, {expected}, found {own}. Run the stage "
                    "`train` again."
                )
            expected = own
            self._networks.append(LoadedNetwork(checkpoints.load_network(checkpoint).to(device), settings))
        if expected is None:
            raise InputError(f"{evaluation}: expected a model with networks, found none. Name another model.")
        self.geometry, self.stain = expected[0], expected[1] is not None

    def probabilities(self, shard: Shard) -> npt.NDArray[np.float64]:
        """Return the mean probability over the networks of each tile of a shard that `shard_of` wrote.

        float64 [N]; of more than two classes [N, classes].
        """
        rows = pd.DataFrame({"id": shard.ids, "shard": shard.number, "row": np.arange(len(shard)), "label": -1})
        tiles = TileLoader({shard.number: shard}, rows, self._device)
        values = []
        for one in self._networks:
            with reproducible(one.settings.get("deterministic", False)):
                table = predictions(
                    one.network,
                    tiles,
                    choice=one.settings["precision"],
                    tta=self._tta,
                    average=self._average,
                    fold=-1,
                )
            values.append(tables.probability_values(table))
        return np.asarray(np.stack(values).mean(axis=0))

    @contextmanager
    def shard_of(self, count: int, batches: Iterator[Pixels], folder: Path) -> Iterator[Shard]:
        """Yield a temporary shard of tiles as the networks expect them, in `folder`; its ids are numbers in order.

        count: of the tiles; batches: their pixels, uint8 [n, side, side, 3].
        """
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".apply-", dir=folder) as temporary:
            path = Path(temporary) / "tiles.h5"
            write_shard(
                path,
                split="test",
                number=0,
                ids=[f"{number:010d}" for number in range(count)],
                labels=np.full(count, -1, np.int8),
                batches=(normalise(batch) if self.stain else batch for batch in batches),
                code="apply",
                geometry=self.geometry,
            )
            yield Shard(path)


@contextmanager
def open_model(weights: list[Path], evaluation: Path, *, tta: str, average: str, threads: int) -> Iterator[Model]:
    """Yield a model on a device of this machine; the arguments are those of `Model`."""
    with claim_device(threads) as device:
        yield Model(weights, evaluation, device, tta=tta, average=average)


def predict_tiles(model: Model, images: Images, reference: ColourReference, folder: Path) -> pd.DataFrame:
    """Return the predictions of tiles in the order of their ids.

    Columns: id; probability (of more than two classes probability_0, …); calibrated, the probability with the
    temperature of the calibration, if the model has one; flags. Tiles of another size have no probability and the flag
    `size`. folder: for a temporary shard.
    """
    found: list[str] = []

    def measured() -> Iterator[Pixels]:
        for batch in images.batches():
            found.extend(flags(measurements(batch), reference))
            yield batch

    with model.shard_of(len(images.ids), measured(), folder) as shard:
        values = model.probabilities(shard)
    table = pd.DataFrame({"id": images.ids, **tables.probability_columns(values)})
    if model.temperature is not None:
        table["calibrated"] = calibrated(values, model.temperature)
    table["flags"] = found
    resized = table["id"].isin(images.resized)
    table.loc[resized, table.columns[1:-1]] = np.nan
    table.loc[resized, "flags"] = "size"
    return table


def calibrated(probabilities: npt.NDArray[np.float64], temperature: float) -> npt.NDArray[np.float64]:
    """Return the probabilities with their logits divided by the temperature (Guo et al., ICML 2017), float64 [N]."""
    return sigmoid(logit(probabilities).astype(np.float64) / temperature)


def write_predictions(table: pd.DataFrame, path: Path) -> None:
    """Write the table of `predict_tiles` as CSV, atomically, all digits included; log how many tiles have a flag."""
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    flagged = table.loc[table["flags"] != "", "flags"].str.split(";").explode().value_counts()
    log.info("%s: %d tiles.", path, len(table))
    for flag, count in flagged.items():
        meaning = "they are not predicted" if flag == "size" else "their predictions may be unreliable"
        log.warning("%d of %d tiles are flagged %s: %s.", count, len(table), flag, meaning)
