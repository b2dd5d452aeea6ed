# From shards to shards of normalised tiles, when stain.method names a method.
#
# Needs:  pack/{split}-{shard}.h5
# Makes:  stain/{split}-{shard}.h5   the same tiles in the colours of the reference, which training and prediction read


rule stain:
    input:
        result("pack/{split}-{shard}.h5"),
    output:
        result("stain/{split}-{shard}.h5"),
    log:
        log_path("stain", "{split}-{shard}"),
    benchmark:
        benchmark_path("stain", "{split}-{shard}")
    conda:
        ENVIRONMENT
    params:
        settings=config["stain"],
        code=code_version("stain"),
    script:
        "../scripts/stain.py"
