"""Write a model for other programs: its networks and their ensemble as ONNX and for PyTorch, safetensors, a model card.

The ONNX files are compared with PyTorch on tiles of the data set before anything is kept.
"""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save

from histo.errors import InputError
from histo.export.model_card import model_card
from histo.export.onnx_models import OPSET, Ensemble, export, largest_difference, write_onnx, write_program
from histo.files import atomic_write, read_json, write_json
from histo.geometry import Geometry
from histo.tiles.shards import Shard
from histo.tiles.stain_normalisation import normalise
from histo.training import checkpoints

COMPARED = 64  # tiles on which ONNX Runtime and PyTorch are compared, evenly spaced in a shard


def compared_tiles(shard: Path, stain: str | None) -> np.ndarray:
    """Return the tiles of a shard of `pack` on which results are compared, uint8 [≤ 64, side, side, 3].

    Raises InputError if it has none.
    """
    images = Shard(shard).images
    if not len(images):
        raise InputError(f"{shard}: expected tiles, found none. Run the stage `pack` again.")
    rows = np.unique(np.linspace(0, len(images) - 1, min(COMPARED, len(images))).round().astype(int))
    return normalise(images[rows]) if stain else images[rows]


def export_model(
    weights: list[Path],
    evaluation: Path,
    ensemble: Path | None,
    shard: Path,
    folder: Path,
    *,
    model: str,
    dataset: str,
    source: str,
    tta: str,
    average: str,
) -> None:
    """Write to `folder` `<network>.onnx` and `.pt2`, `ensemble.onnx` and `.pt2`, `model.safetensors`, `model.json`, and
    the card, `README.md`.

    weights: `<network>/weights.pt` of each network; evaluation: metrics of the model; ensemble: summary of the
    submission if that consists of this model alone, for the results by stratum; shard: of `pack`; dataset, source: of
    the tiles; tta, average: settings of `predict`. Raises InputError for unusable input, and if the logits of an ONNX
    file differ from those of PyTorch.
    """
    loaded = {path.parent.name: checkpoints.load(path) for path in weights}
    networks = {name: checkpoints.load_network(checkpoint) for name, checkpoint in loaded.items()}
    first = next(iter(loaded.values()))
    settings, geometry = first["settings"], Geometry(**first["geometry"])
    tiles = compared_tiles(shard, settings.get("stain"))
    models = {name: Ensemble([network], "none", average) for name, network in networks.items()}
    models["ensemble"] = Ensemble(list(networks.values()), tta, average)
    differences = {}
    for name, one in models.items():
        path = folder / f"{name}.onnx"
        program = export(one, geometry.tile_side)
        write_program(program, path.with_suffix(".pt2"))
        write_onnx(program, path)
        differences[name] = largest_difference(one, path, tiles)
    tensors = {
        f"{name}.{key}": value.contiguous()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }
    with atomic_write(folder / "model.safetensors") as temporary:
        temporary.write_bytes(save(tensors, metadata={"format": "pt"}))

    metrics = read_json(evaluation)
    temperature = (metrics["probability"] or {}).get("temperature")
    description: dict[str, Any] = {
        "model": model,
        "dataset": dataset,
        "source": source,
        "networks": list(networks),
        "network": settings["network"],
        "center_crop": settings["center_crop"],
        "input_size": settings["input_size"],
        "normalisation": {name: checkpoint["normalisation"] for name, checkpoint in loaded.items()},
        "stain": settings.get("stain"),
        "geometry": first["geometry"],
        "classes": first["classes"],
        "tta": tta,
        "average": average,
        "temperature": temperature["temperature"] if temperature else None,
        "auc": metrics["auc"],
        "onnx": {
            "opset": OPSET,
            "input": {"tiles": ["N", *geometry.shape], "dtype": "uint8", "channels": "RGB"},
            "largest_differences": differences,
            "largest_difference": max(differences.values()),
        },
        "settings": settings,
        "versions": first["versions"],
    }
    write_json(folder / "model.json", description)
    strata = read_json(ensemble)["by_stratum"] if ensemble else None
    with atomic_write(folder / "README.md") as temporary:
        temporary.write_text(model_card(description, metrics, strata))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    ensemble = snakemake.input.get("ensemble")
    export_model(
        [Path(path) for path in snakemake.input.weights],
        Path(snakemake.input.evaluation),
        Path(ensemble) if ensemble else None,
        Path(snakemake.input.shard),
        Path(snakemake.output.card).parent,
        **snakemake.params.settings,
    )
