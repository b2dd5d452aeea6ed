# A small network on a sample of the tiles, and an estimate of what the full run will take on this machine, on request.
#
# Needs:  pack/*.h5 or stain/*.h5, folds.parquet, folds.json, tiles.parquet; benchmarks of the stages before them;
#         resources/imagenet_weights/* for models that start from ImageNet weights
# Makes:  sketch/folds.parquet, folds.json   folds of the sample, which no other rule reads
#         sketch.json, sketch.md   AUC of the small network; time by stage, memory, disk


use rule folds as sketch_folds with:
    input:
        tiles=result("tiles.parquet"),
        groups=result("groups.parquet"),
        overlaps=result("overlaps.parquet"),
        vectors=[],
        summary=result("folds.json"),
    output:
        folds=result("sketch/folds.parquet"),
        summary=result("sketch/folds.json"),
    log:
        log_path("sketch_folds"),
    benchmark:
        benchmark_path("sketch_folds")
    params:
        # Two folds need the fewest groups. The fraction follows from what is among the parameters and inputs of `folds`.
        settings=lambda wildcards, output: {
            "by": "groups",
            "count": 2,
            "seed": config["folds"]["seed"],
            "fraction": sample_fraction(),
        },
        code=code_version("folds"),


# Without an output: the speed of a machine is measured each time that it is asked for.
rule sketch:
    input:
        train_shards=shards_of(TILES, "h5", ["train"]),
        test_shards=shards_of(TILES, "h5", ["test"]),
        sample=result("sketch/folds.parquet"),
        folds=result("folds.parquet"),
        summary=result("folds.json"),
        tiles=result("tiles.parquet"),
        weights=lambda wildcards: [
            path for one in planned_networks().values() for path in imagenet_weights(one["settings"])
        ],
    log:
        log_path("sketch"),
    conda:
        ENVIRONMENT
    threads: workflow.cores or 16
    resources:
        gpu=lambda wildcards: (
            network_slots() if default_gpus(wildcards) and workflow.local_exec else default_gpus(wildcards)
        ),
        mem_mb=by_size(6000, 1.5),
    params:
        out=result("sketch.json"),
        settings=lambda wildcards, input: {
            "models": planned_networks(),
            "slots": network_slots(),
            "cores": workflow.cores,
            "tta": config["predict"]["tta"],
            "benchmarks": {stage: f"benchmarks/{run_folder(stage)}/{stage}" for stage in STAGES},
            "at_once": stages_before_networks(),
            "memory_mb": {
                "train": by_size(
                    max([training_memory(one["settings"]) for one in planned_networks().values()], default=0),
                    NETWORK_MEMORY["train"][1],
                )(wildcards, input.train_shards, 1),
                "predict": by_size(*NETWORK_MEMORY["predict"])(
                    wildcards, [*input.train_shards, *input.test_shards], 1
                ),
            },
            "disk": space_of_full_run(),
        },
        code=code_version("sketch"),
    script:
        "../scripts/sketch.py"
