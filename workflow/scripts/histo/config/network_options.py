"""What is wrong with a network's name or with its options, known without importing torch.

Apart from histo/networks/names.py, since a job must not run again when a check is edited. The weights that a network of
torchvision starts from are no such option.
"""

import difflib
from typing import Any

from histo.networks.names import OWN, TORCHVISION

# What cannot be built for tiles of 96 pixels or less.
TOO_COARSE = {
    "maxvit_t": "its windows, 7 × 7 places of a map at 1/4 of the resolution, do not tile them",
    "vit_h_14": "its patches of 14 × 14 pixels do not tile them",
}

# Networks that are not here have no options.
OPTIONS = {
    "p4m_residual": ("width", "blocks", "hidden", "dropout"),
    "residual": ("width", "blocks", "dropout"),
    "batchnorm_gap": ("filters", "convolutions", "dropout", "dense"),
}
WITH_DEFAULTS = ("batchnorm_gap",)  # what is not said of these they know themselves
ORIENTATIONS = 8  # of p4m_residual, among which its channels are shared out


def name_fault(name: Any) -> str | None:
    """What is wrong with a network's name, with the nearest names that exist; None: nothing."""
    if name in TOO_COARSE:
        return f"network.name: {name} cannot be built for tiles of 96 pixels: {TOO_COARSE[name]}. Choose another."
    known = [*OWN, *TORCHVISION]
    if name in known:
        return None
    near = difflib.get_close_matches(str(name), known, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "."
    return (
        f"network.name: expected one of {', '.join(OWN)} or a classification network of torchvision such as "
        f"densenet121 or convnext_tiny, found {name!r}{hint}"
    )


def fault(network: dict[str, Any]) -> str | None:
    """What is wrong with the options of a network (its settings, `name` among them, which exists); None: nothing."""
    name = network["name"]
    known = OPTIONS.get(name, ())
    strange = [key for key in network if key not in (*known, "name", "weights")]
    if strange:
        has = f"has the options {', '.join(known)}" if known else "has no options"
        return (
            f"network: {name} {has}, found {', '.join(strange)}. Leave out what it does not have; if that comes from "
            "`train`, name the network under `models` instead, where another network takes none of its options."
        )
    missing = [key for key in known if key not in network and name not in WITH_DEFAULTS]
    if missing:
        return f"network: {name} needs {', '.join(missing)} too; config/README.md describes them."
    if name == "p4m_residual" and network["width"] % ORIENTATIONS:
        return f"network.width: {name} needs a multiple of {ORIENTATIONS}, found {network['width']}."
    return None
