# From the archive to folds.
#
# Needs:  the archive: from Kaggle (credentials), from the user (dataset.archive) or made.
# Makes:  pack/{split}-{shard}.h5   tiles, as training reads them
#         tiles.parquet, audit.json   the verdict on every tile
#         overlaps.parquet, groups.parquet, folds.parquet   tiles that share tissue, and folds that keep them together

if config["dataset"]["source"] == "kaggle":

    rule download:
        output:
            archive=resource("archive.zip"),
        log:
            log_of("download"),
        benchmark:
            times_of("download")
        localrule: True
        conda:
            ENVIRONMENT
        threads: 4
        params:
            # No fingerprint of the code: the archive is proven by its content, whichever version fetched it.
            settings=config["download"],
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
            log_of("synthesize"),
        benchmark:
            times_of("synthesize")
        conda:
            ENVIRONMENT
        params:
            settings=config["synthesize"],
            code=code_version("synthesize"),
        script:
            "../scripts/synthesize.py"


rule index:
    input:
        archive=archive(),
    output:
        index=result("index.parquet"),
        sample=result("sample_submission.csv"),
    log:
        log_of("index"),
    benchmark:
        times_of("index")
    conda:
        ENVIRONMENT
    params:
        settings=config["index"],
        code=code_version("index"),
    script:
        "../scripts/index.py"


rule unzip:
    input:
        archive=archive(),
        index=result("index.parquet"),
    output:
        temp(directory(result("unzip/{split}-{shard}"))),
    log:
        log_of("unzip", "{split}-{shard}"),
    benchmark:
        times_of("unzip", "{split}-{shard}")
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: {"split": wildcards.split, "shard": int(wildcards.shard)},
        code=code_version("unzip"),
    script:
        "../scripts/unzip.py"


# Before more is unzipped, what is there is used up, so that few files exist at a time.
rule validate:
    input:
        folder=result("unzip/{split}-{shard}"),
        index=result("index.parquet"),
    output:
        result("validate/{split}-{shard}.parquet"),
    log:
        log_of("validate", "{split}-{shard}"),
    benchmark:
        times_of("validate", "{split}-{shard}")
    priority: 1
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: {
            "split": wildcards.split,
            "shard": int(wildcards.shard),
            "id_is_sha1": config["validate"]["id_is_sha1"],
        },
        code=code_version("validate"),
    script:
        "../scripts/validate.py"


rule pack:
    input:
        folder=result("unzip/{split}-{shard}"),
        index=result("index.parquet"),
        validation=result("validate/{split}-{shard}.parquet"),
    output:
        result("pack/{split}-{shard}.h5"),
    log:
        log_of("pack", "{split}-{shard}"),
    benchmark:
        times_of("pack", "{split}-{shard}")
    priority: 2
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: {"split": wildcards.split, "shard": int(wildcards.shard)},
        code=code_version("pack"),
    script:
        "../scripts/pack.py"


rule audit:
    input:
        index=result("index.parquet"),
        validations=shards_of("validate", "parquet"),
    output:
        tiles=result("tiles.parquet"),
        figures=result("audit.json"),
    log:
        log_of("audit"),
    benchmark:
        times_of("audit")
    priority: 3
    conda:
        ENVIRONMENT
    params:
        settings={"on_fault": config["validate"]["on_fault"]},
        code=code_version("audit"),
    script:
        "../scripts/audit.py"


rule overlaps:
    input:
        validations=shards_of("validate", "parquet"),
        train_shards=shards_of("pack", "h5", ["train"]),
        test_shards=shards_of("pack", "h5", ["test"]),
    output:
        overlaps=result("overlaps.parquet"),
        figures=result("overlaps.json"),
    log:
        log_of("overlaps"),
    benchmark:
        times_of("overlaps")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
    params:
        code=code_version("overlaps"),
    script:
        "../scripts/overlaps.py"


rule groups:
    input:
        **({"slides": config["folds"]["slides"]} if config["folds"]["slides"] else {}),
        tiles=result("tiles.parquet"),
        validations=shards_of("validate", "parquet", ["train"]),
        overlaps=result("overlaps.parquet"),
    output:
        result("groups.parquet"),
    log:
        log_of("groups"),
    benchmark:
        times_of("groups")
    conda:
        ENVIRONMENT
    params:
        code=code_version("groups"),
    script:
        "../scripts/groups.py"


rule folds:
    input:
        tiles=result("tiles.parquet"),
        groups=result("groups.parquet"),
        overlaps=result("overlaps.parquet"),
    output:
        folds=result("folds.parquet"),
        figures=result("folds.json"),
    log:
        log_of("folds"),
    benchmark:
        times_of("folds")
    conda:
        ENVIRONMENT
    params:
        settings={key: config["folds"][key] for key in ("count", "seed")},
        code=code_version("folds"),
    script:
        "../scripts/folds.py"
