# From a trained model to predictions of other tiles, on request.
#
# Needs:  train/{model}/{network}/weights.pt, evaluate/{model}.json, tiles.parquet; section `apply` of the configuration
# Makes:  apply.out   CSV with the probability and the flags of each tile; with apply.stride, maps in a folder beside it

from histo.apply.maps import maps_folder
from histo.zip_paths import split_zip_path

# snakemake --cores 8 apply --config apply='{model: lite0, tiles: folder, out: predictions.csv}'
if config["apply"]:

    rule apply:
        input:
            weights=trained_networks(config["apply"]["model"]),
            evaluation=result(f"evaluate/{config['apply']['model']}.json"),
            reference=result("tiles.parquet"),
            tiles=str(split_zip_path(config["apply"]["tiles"])[0]),
        output:
            **({"maps": directory(str(maps_folder(config["apply"]["out"])))} if config["apply"]["stride"] else {}),
            predictions=config["apply"]["out"],
        log:
            log_path("apply"),
        benchmark:
            benchmark_path("apply")
        conda:
            SLIDES_ENVIRONMENT if config["apply"]["microns_per_pixel"] else ENVIRONMENT
        threads: network_threads("apply", lambda wildcards: 16)
        resources:
            gpu=default_gpus,
            mem_mb=by_size(6000, 0.8),
            disk_mb=by_size(2000, 2),
            runtime=by_size(60, 0.025 * tiles_per_area()),
        params:
            tiles=config["apply"]["tiles"],
            stride=config["apply"]["stride"],
            microns_per_pixel=config["apply"]["microns_per_pixel"],
            settings=config["predict"],
            code=network_code("apply", model_settings(config, config["apply"]["model"])),
        script:
            "../scripts/apply.py"

else:

    rule apply:
        input:
            lambda wildcards: no_apply(),
