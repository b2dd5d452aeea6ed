"""How large networks are: `make networks` prints name, parameters and how many of them train, one network a line."""

import inspect
from pathlib import Path
from typing import Any

import yaml

from histo.networks.network import BODIES, build, count
from histo.tiles.geometry import CENTRE, SIDE

CONFIG = Path(__file__).resolve().parents[4] / "config" / "config.yaml"
EXAMPLES = ("densenet121", "resnet34")  # of torchvision's, those that public attempts used


def complete(name: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """Settings of the network `name`: what it cannot be built without comes from `defaults`."""
    wanted = inspect.signature(BODIES[name]).parameters.values() if name in BODIES else []
    needed = [option.name for option in wanted if option.kind is option.KEYWORD_ONLY and option.default is option.empty]
    return {"name": name, **{option: defaults[option] for option in needed}}


def main() -> None:
    defaults = yaml.safe_load(CONFIG.read_text())["train"]["network"]
    for name in (*BODIES, *EXAMPLES):
        crop = CENTRE if name == "center32_3conv" else SIDE
        total, trainable = count(build(complete(name, defaults), crop).body)
        print(f"{name:<16} {total:>11,} {trainable:>11,}")


if __name__ == "__main__":
    main()
