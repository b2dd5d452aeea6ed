"""Which options a network has beside its name, known without importing torch.

Apart from histo/network_names.py, since a job must not run again when a check is edited. The weights that a network of
torchvision starts from are no such option.
"""

from typing import Any

# Networks that are not here have no options.
OPTIONS = {
    "p4m_residual": ("width", "blocks", "hidden", "dropout"),
    "residual": ("width", "blocks", "dropout"),
    "batchnorm_gap": ("filters", "convolutions", "dropout", "dense"),
}
WITH_DEFAULTS = ("batchnorm_gap",)  # what is not said of these they know themselves
ORIENTATIONS = 8  # of p4m_residual, among which its channels are shared out


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
