# From shards and folds to probabilities, one job for each network: of each model, one per fold (fold-{fold}), with
# folds.also_by_stain one per fold by stain (stain-{fold}), and with submission.full_networks some that are trained on
# all tiles (full-{replicate}).
#
# Needs:  pack/*.h5 or stain/*.h5, folds.parquet, tiles.parquet; search/{search}/best.yaml for a model that names a search;
#         resources/imagenet_weights/* for models that start from ImageNet weights, train/*/{network}/weights.pt of
#         another model with warm_start
# Makes:  train/{model}/{network}/weights.pt, history.csv, training.json   trained on all other folds, or on all tiles
#         predict/{model}/{network}/oof.parquet   probabilities for its fold
#         predict/{model}/{network}/test.parquet   probabilities for the test tiles, of networks that are submitted or
#                                                  give pseudo-labels


rule train:
    input:
        shards=shards_of(TILES, "h5", ["train"]),
        folds=folds_of_network,
        bests=lambda wildcards: bests_of([wildcards.model]),
        test_shards=lambda wildcards: shards_of(TILES, "h5", ["test"]) if teachers(wildcards.model) else [],
        pseudo_labels=lambda wildcards: pseudo_labels(wildcards.model, wildcards.network),
        weights=lambda wildcards: initial_weights(wildcards.model, wildcards.network),
    output:
        weights=result("train/{model}/{network}/weights.pt"),
        history=report(
            result("train/{model}/{network}/history.csv"),
            caption="../report/history.rst",
            category="Training",
            labels={"model": "{model}", "network": "{network}"},
        ),
        summary=result("train/{model}/{network}/training.json"),
    log:
        log_path("train", "{model}/{network}"),
    benchmark:
        benchmark_path("train", "{model}/{network}")
    wildcard_constraints:
        model=any_of(config["models"]),
        network=r"(fold|stain|full)-\d+",
    conda:
        ENVIRONMENT
    threads: network_threads("train", computing_threads)
    resources:
        gpu=default_gpus,  # processes that train one fold together, each on its GPU: --set-resources train:gpu=2
        mem_mb=by_size(batch_memory, NETWORK_MEMORY["train"][1]),
        disk_mb=by_size(2000),
        runtime=by_size(120, training_minutes),
    params:
        settings=lambda wildcards: by_content(train_settings(config, wildcards.model)),
        weights=lambda wildcards, output: own_weights(model_settings(config, wildcards.model)),
        stain=config["stain"]["method"] if STAINED else None,  # recorded in the weights file
        code=lambda wildcards: network_code("train", model_settings(config, wildcards.model)),
    script:
        "../scripts/train.py"


rule predict:
    input:
        weights=result("train/{model}/{network}/weights.pt"),
        train_shards=shards_of(TILES, "h5", ["train"]),
        test_shards=shards_of(TILES, "h5", ["test"]),
        folds=folds_of_network,
        tiles=result("tiles.parquet"),
    output:
        oof=result("predict/{model}/{network}/oof.parquet"),
        test=result("predict/{model}/{network}/test.parquet"),
    log:
        log_path("predict", "{model}/{network}"),
    benchmark:
        benchmark_path("predict", "{model}/{network}")
    wildcard_constraints:
        model=any_of(config["models"]),
        network=r"(fold|stain)-\d+",
    conda:
        ENVIRONMENT
    threads: network_threads("predict", computing_threads)
    resources:
        gpu=default_gpus,
        mem_mb=by_size(*NETWORK_MEMORY["predict"]),
        runtime=by_size(60, prediction_minutes),
    params:
        settings=config["predict"],
        code=lambda wildcards: network_code("predict", model_settings(config, wildcards.model)),
    script:
        "../scripts/predict.py"


# The inputs are those of `predict`: a change of submission.full_networks repeats no prediction.
use rule predict as predict_oof with:
    output:
        oof=result("predict/{model}/{network}/oof.parquet"),
    wildcard_constraints:
        model=any_of(sorted(set(config["models"]) - all_teachers())),
        network=r"(fold|stain)-\d+" if config["submission"]["full_networks"] else r"stain-\d+",


ruleorder: predict_oof > predict


use rule predict as predict_full with:
    # Networks that were trained on all tiles have no out-of-fold predictions.
    input:
        weights=result("train/{model}/full-{replicate}/weights.pt"),
        train_shards=[],
        test_shards=shards_of(TILES, "h5", ["test"]),
        folds=result("folds.parquet"),
        tiles=result("tiles.parquet"),
    output:
        test=result("predict/{model}/full-{replicate}/test.parquet"),
    log:
        log_path("predict", "{model}/full-{replicate}"),
    benchmark:
        benchmark_path("predict", "{model}/full-{replicate}")
