# From shards to shards of stain-normalised tiles, if stain.method is set.
#
# Needs:  pack/{split}-{shard}.h5
# Makes:  stain/{split}-{shard}.h5   the same tiles with the reference's stain colours; training and prediction read them


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
    resources:
        mem_mb=by_size(500, 0.2),
        disk_mb=by_size(100, 1),
        runtime=by_size(30, 0.2),
    params:
        settings=config["stain"],
        code=code_version("stain"),
    script:
        "../scripts/stain.py"
