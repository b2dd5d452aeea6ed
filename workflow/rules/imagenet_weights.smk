# ImageNet weights of torchvision's networks.
#
# Needs:  imagenet_weights.address   folder with the files
# Makes:  resources/imagenet_weights/{file}   for models with `network: {weights: imagenet}`; shared by all data sets

from histo.networks.names import weights_file


def imagenet_weights(settings):
    """Path of the ImageNet weights that training starts from, as a list; empty for other weights.

    They have the SHA-256 of their content in their name, so a new download must not rerun training.
    """
    path = weights_file(settings["network"])
    return [ancient(path)] if path and settings["network"]["weights"] == "imagenet" else []


def own_weights(settings):
    """Path of the user's file of weights that training starts from, or None. It is no input: see `by_content`."""
    return weights_file(settings["network"]) if not imagenet_weights(settings) else None


rule imagenet_weights:
    output:
        "resources/imagenet_weights/{file}",
    log:
        log_path("imagenet_weights", "{file}"),
    benchmark:
        benchmark_path("imagenet_weights", "{file}")
    wildcard_constraints:
        file=r"[^/]+-[0-9a-f]{8,64}\.pth",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        # No code fingerprint: the SHA-256 in the name verifies the file, whichever version of the script downloaded it.
        address=uncompared(config["imagenet_weights"]["address"]),
    script:
        "../scripts/imagenet_weights.py"
