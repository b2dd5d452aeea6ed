# From networks to what the report shows of their inside, one job for each model that is a network.
#
# Needs:  train/{model}/fold-{fold}/weights.pt, predict/{model}/fold-{fold}/oof.parquet, folds.parquet, tiles.parquet,
#         pack/*.h5 or stain/*.h5
# Makes:  saliency/{model}.parquet   attribution of predictions to pixels, for a fixed number of tiles
#         feature_map/{model}.parquet   the features of all training tiles in two dimensions, by PCA or UMAP


rule saliency:
    input:
        weights=lambda wildcards: folds_of("train", "weights.pt", [wildcards.model]),
        predictions=lambda wildcards: folds_of("predict", "oof.parquet", [wildcards.model]),
        shards=shards_of(TILES, "h5", ["train"]),
        folds=result("folds.parquet"),
    output:
        result("saliency/{model}.parquet"),
    log:
        log_path("saliency", "{model}"),
    benchmark:
        benchmark_path("saliency", "{model}")
    wildcard_constraints:
        model=any_of(config["models"]),
    conda:
        ENVIRONMENT
    threads: network_threads("saliency", computing_threads)
    resources:
        gpu=default_gpus,
        mem_mb=by_size(3500, 0.01),
    params:
        code=lambda wildcards: network_code("saliency", model_settings(config, wildcards.model)),
    script:
        "../scripts/saliency.py"


rule feature_map:
    input:
        weights=lambda wildcards: folds_of("train", "weights.pt", [wildcards.model]),
        train_shards=shards_of(TILES, "h5", ["train"]),
        test_shards=shards_of(TILES, "h5", ["test"]),
        folds=result("folds.parquet"),
        tiles=result("tiles.parquet"),
    output:
        result("feature_map/{model}.parquet"),
    log:
        log_path("feature_map", "{model}"),
    benchmark:
        benchmark_path("feature_map", "{model}")
    wildcard_constraints:
        model=any_of(config["models"]),
    conda:
        ENVIRONMENT
    threads: network_threads("feature_map", computing_threads)
    resources:
        gpu=default_gpus,
        mem_mb=by_size(4000, 0.4),
        runtime=by_size(60, prediction_minutes),
    params:
        settings=config["feature_map"],
        code=lambda wildcards: network_code("feature_map", model_settings(config, wildcards.model)),
    script:
        "../scripts/feature_map.py"
