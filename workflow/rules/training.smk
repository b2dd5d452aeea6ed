# From shards and folds to probabilities, one job for each model and fold.
#
# Needs:  pack/*.h5, folds.parquet, tiles.parquet
# Makes:  train/{model}/fold-{fold}/weights.pt, history.csv, training.json   the network that never saw this fold
#         predict/{model}/fold-{fold}/oof.parquet, test.parquet   its probabilities for the fold and for the test tiles


rule train:
    input:
        shards=shards_of("pack", "h5", ["train"]),
        folds=result("folds.parquet"),
    output:
        weights=result("train/{model}/fold-{fold}/weights.pt"),
        history=result("train/{model}/fold-{fold}/history.csv"),
        figures=result("train/{model}/fold-{fold}/training.json"),
    log:
        log_of("train", "{model}/fold-{fold}"),
    benchmark:
        times_of("train", "{model}/fold-{fold}")
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=720,
    params:
        settings=lambda wildcards: model_settings(config, wildcards.model),
        code=code_version("train"),
    script:
        "../scripts/train.py"


rule predict:
    input:
        weights=result("train/{model}/fold-{fold}/weights.pt"),
        train_shards=shards_of("pack", "h5", ["train"]),
        test_shards=shards_of("pack", "h5", ["test"]),
        folds=result("folds.parquet"),
        tiles=result("tiles.parquet"),
    output:
        oof=result("predict/{model}/fold-{fold}/oof.parquet"),
        test=result("predict/{model}/fold-{fold}/test.parquet"),
    log:
        log_of("predict", "{model}/fold-{fold}"),
    benchmark:
        times_of("predict", "{model}/fold-{fold}")
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=240,
    params:
        settings=config["predict"],
        code=code_version("predict"),
    script:
        "../scripts/predict.py"
