# ImageNet weights of torchvision's networks.
#
# Needs:  imagenet_weights.address   folder with the files
# Makes:  resources/imagenet_weights/{file}   for models with `network: {weights: imagenet}`; shared by all data sets


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
