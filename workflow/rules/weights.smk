# Weights that torchvision's networks learnt on ImageNet.
#
# Needs:  weights.address   where the files lie
# Makes:  resources/weights/{file}   for models with `network: {weights: imagenet}`; shared by all data sets


rule weights:
    output:
        "resources/weights/{file}",
    log:
        log_path("weights", "{file}"),
    benchmark:
        benchmark_path("weights", "{file}")
    wildcard_constraints:
        file=r"[^/]+-[0-9a-f]{8,64}\.pth",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        # No fingerprint of the code: the file is proven by its SHA-256, whichever version fetched it.
        settings={"address": config["imagenet_weights"]["address"]},
    script:
        "../scripts/weights.py"
