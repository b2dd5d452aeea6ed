"""Print the size of each network, one per line: name, parameters, trainable parameters (`make networks`)."""

import inspect
from pathlib import Path
from typing import Any

import yaml

from histo.geometry import CENTRE, SIDE
from histo.networks.names import OWN
from histo.networks.network import build, builder, count

CONFIG = Path(__file__).resolve().parents[4] / "config" / "config.yaml"
TORCHVISION_EXAMPLES = ("densenet121", "resnet34")  # the networks of torchvision that config/published.yaml trains


def with_defaults(name: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """Settings of the network `name`; the options that it requires are taken from `defaults`."""
    options = inspect.signature(builder(name)).parameters.values() if name in OWN else []
    required = [
        option.name for option in options if option.kind is option.KEYWORD_ONLY and option.default is option.empty
    ]
    return {"name": name, **{option: defaults[option] for option in required}}


def main() -> None:
    """Print the table; options that a network requires are those of `train.network` in config/config.yaml."""
    defaults = yaml.safe_load(CONFIG.read_text())["train"]["network"]
    for name in (*OWN, *TORCHVISION_EXAMPLES):
        crop = CENTRE if name == "center32_3conv" else SIDE
        total, trainable = count(build(with_defaults(name, defaults), crop).body)
        print(f"{name:<16} {total:>11,} {trainable:>11,}")


if __name__ == "__main__":
    main()
