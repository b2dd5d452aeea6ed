# From shards and folds to predictions of classical models, one job per model and fold.
#
# Needs:  pack/*.h5 or stain/*.h5, folds.parquet, tiles.parquet
# Makes:  features/{split}-{shard}.parquet   colour and texture statistics of each tile
#         predict/{model}/fold-{fold}/oof.parquet, test.parquet   predictions of the tiles of the fold and of the test tiles


rule features:
    input:
        result(f"{TILES}/{{split}}-{{shard}}.h5"),
    output:
        result("features/{split}-{shard}.parquet"),
    log:
        log_path("features", "{split}-{shard}"),
    benchmark:
        benchmark_path("features", "{split}-{shard}")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(500, 0.2),
        runtime=by_size(30, 0.1),
    params:
        code=code_version("features"),
    script:
        "../scripts/features.py"


rule classical:
    input:
        train_features=shards_of("features", "parquet", ["train"]),
        test_features=shards_of("features", "parquet", ["test"]),
        folds=result("folds.parquet"),
        tiles=result("tiles.parquet"),
    output:
        oof=result("predict/{model}/fold-{fold}/oof.parquet"),
        test=result("predict/{model}/fold-{fold}/test.parquet"),
    log:
        log_path("classical", "{model}/fold-{fold}"),
    benchmark:
        benchmark_path("classical", "{model}/fold-{fold}")
    wildcard_constraints:
        model=any_of(CLASSICAL),
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=by_size(1000, 60),
        runtime=by_size(30, 0.7),
    params:
        settings=lambda wildcards: CLASSICAL[wildcards.model],
        code=code_version("classical"),
    script:
        "../scripts/classical.py"
