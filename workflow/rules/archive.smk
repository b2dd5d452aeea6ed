# From an archive, a folder extracted from one, or synthetic tiles, to shards.
#
# Needs:  the archive: from Kaggle (credentials), from the user (dataset.archive, dataset.folder) or synthetic
# Makes:  index.parquet, sample_submission.csv   the tiles listed in the tables, and their positions in the archive
#         validate/{split}-{shard}.parquet   checksums, faults and measurements of each tile
#         pack/{split}-{shard}.h5   shards, which training reads


if config["dataset"]["source"] == "kaggle":

    rule download:
        output:
            archive=resource("archive.zip"),
        log:
            log_path("download"),
        benchmark:
            benchmark_path("download")
        localrule: True
        conda:
            ENVIRONMENT
        threads: 4
        resources:
            mem_mb=by_size(1000),
            disk_mb=by_size(15000),
            runtime=by_size(240),
        params:
            # No code version: the archive is verified by its content, whichever version of the code downloaded it.
            settings=config["kaggle"],
            # Another MD5 must not delete an archive that is there: it is for the next download.
            md5=uncompared(config["download"]["md5"]),
            results=result(""),
        script:
            "../scripts/download.py"


if config["dataset"]["source"] == "synthetic":

    rule synthesize:
        output:
            archive=resource("archive.zip"),
            truth=resource("truth.csv"),
            overlaps=resource("overlaps.parquet"),
            slides=resource("slides.csv"),
        log:
            log_path("synthesize"),
        benchmark:
            benchmark_path("synthesize")
        conda:
            ENVIRONMENT
        resources:
            mem_mb=by_size(1000),
            disk_mb=by_size(1000 + 0.03 * sum(config["synthesize"][f"{split}_tiles"] for split in SHARDS)),
            runtime=by_size(60),
        params:
            settings=config["synthesize"],
            geometry=GEOMETRY,
            code=code_version("synthesize"),
        script:
            "../scripts/synthesize.py"


rule index:
    input:
        archive_input(),
    output:
        index=result("index.parquet"),
        sample=result("sample_submission.csv"),
    log:
        log_path("index"),
    benchmark:
        benchmark_path("index")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_archive(500, 0.1),
        disk_mb=by_archive(100, 0.01),
    params:
        archive=uncompared(archive()),
        contents=lambda wildcards: identities(*given_files()),
        on_fault=uncompared(config["audit"]["on_fault"]),  # decides whether there is an index, not what it says
        settings=config["index"] | {"classes": config["dataset"]["classes"]},
        code=code_version("index"),
    script:
        "../scripts/index.py"


# The files of a folder are read where they are.
if config["dataset"]["source"] != "folder":

    rule unzip:
        input:
            archive_input(),
            index=result("index.parquet"),
        output:
            temp(result("unzip/{split}-{shard}.tiles")),
        log:
            log_path("unzip", "{split}-{shard}"),
        benchmark:
            benchmark_path("unzip", "{split}-{shard}")
        conda:
            ENVIRONMENT
        resources:
            unzip=1,
            mem_mb=by_archive(500, 0.6, jobs=len(shards_of("unzip", "tiles"))),
            disk_mb=by_archive(100, 3, jobs=len(shards_of("unzip", "tiles"))),
            runtime=by_archive(30, 0.1, jobs=len(shards_of("unzip", "tiles"))),
        params:
            archive=uncompared(archive()),
            settings=lambda wildcards: {"split": wildcards.split, "shard": int(wildcards.shard)},
            code=code_version("unzip"),
        script:
            "../scripts/unzip.py"


# Runs before further unzip jobs, so that few temporary files exist at a time.
rule validate:
    input:
        tile_file(),
        index=result("index.parquet"),
    output:
        result("validate/{split}-{shard}.parquet"),
    log:
        log_path("validate", "{split}-{shard}"),
    benchmark:
        benchmark_path("validate", "{split}-{shard}")
    cache: shared_cache()
    priority: 1
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_tiles(500, 0.4),
        disk_mb=by_tiles(100, 0.05),
        runtime=by_tiles(30, 0.05),
    params:
        tiles=lambda wildcards, input: tiles_of(input),
        settings=lambda wildcards: {
            "split": wildcards.split,
            "shard": int(wildcards.shard),
            "id_is_sha1": config["validate"]["id_is_sha1"],
            "tile_side": config["dataset"]["tile_side"],
        },
        code=code_version("validate"),
    script:
        "../scripts/validate.py"


rule pack:
    input:
        tile_file(),
        index=result("index.parquet"),
        validation=result("validate/{split}-{shard}.parquet"),
    output:
        result("pack/{split}-{shard}.h5"),
    log:
        log_path("pack", "{split}-{shard}"),
    benchmark:
        benchmark_path("pack", "{split}-{shard}")
    cache: shared_cache()
    priority: 2
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_tiles(500, 0.4),
        disk_mb=by_tiles(100, 1),
        runtime=by_tiles(30, 0.05),
    params:
        tiles=lambda wildcards, input: tiles_of(input),
        settings=lambda wildcards: {"split": wildcards.split, "shard": int(wildcards.shard)},
        geometry=GEOMETRY,  # recorded in the shards, where all later stages read it
        code=code_version("pack"),
    script:
        "../scripts/pack.py"
