# From a trained model to predictions of other tiles, on request.
#
# Needs:  train/{model}/{network}/weights.pt, evaluate/{model}.json, tiles.parquet; section `apply` of the configuration
# Makes:  apply.out   CSV with the probability and the flags of each tile

from histo.zip_paths import split_zip_path


def no_apply():
    """Raise the error that says which settings `apply` needs."""
    raise WorkflowError(
        "The configuration has no section `apply`, which names the model and the tiles. Add --config "
        "apply='{model: NAME, tiles: PATH, out: predictions.csv}'."
    )


# snakemake --cores 8 apply --config apply='{model: lite0, tiles: folder, out: predictions.csv}'
if config["apply"]:

    rule apply:
        input:
            weights=trained_networks(config["apply"]["model"]),
            evaluation=result(f"evaluate/{config['apply']['model']}.json"),
            reference=result("tiles.parquet"),
            tiles=str(split_zip_path(config["apply"]["tiles"])[0]),
        output:
            predictions=config["apply"]["out"],
        log:
            log_path("apply"),
        benchmark:
            benchmark_path("apply")
        conda:
            ENVIRONMENT
        threads: gpu_threads
        resources:
            gpu=1,
            mem_mb=by_size(6000, 0.8),
            disk_mb=by_size(2000, 2),
            runtime=by_size(60, 0.025),
        params:
            tiles=config["apply"]["tiles"],
            settings=config["predict"],
            code=network_code("apply", model_settings(config, config["apply"]["model"])),
        script:
            "../scripts/apply.py"

else:

    rule apply:
        input:
            lambda wildcards: no_apply(),
