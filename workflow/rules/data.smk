# From shards to folds.
#
# Needs:  index.parquet, validate/{split}-{shard}.parquet, pack/{split}-{shard}.h5, from archive.smk or pcam.smk
# Makes:  tiles.parquet, audit.json   which tiles are used, and their faults
#         overlaps.parquet, groups.parquet, folds.parquet   tiles that share tissue, and folds that do not split them
#         folds-by-groups.parquet, folds-by-stain.parquet   on request: both kinds of folds in one run
#         leaks.json, audit.html   data leakage of random folds, shortcuts that make scores too optimistic, pictures


rule audit:
    input:
        index=result("index.parquet"),
        validations=shards_of("validate", "parquet"),
    output:
        tiles=result("tiles.parquet"),
        summary=result("audit.json"),
    log:
        log_path("audit"),
    benchmark:
        benchmark_path("audit")
    priority: 3
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(500, 5),
    params:
        settings=config["audit"] | {"classes": config["dataset"]["classes"]},
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
        summary=result("overlaps.json"),
    log:
        log_path("overlaps"),
    benchmark:
        benchmark_path("overlaps")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(500, 0.25),
        runtime=by_size(30, 0.01),
    params:
        settings=config["overlaps"],
        code=code_version("overlaps"),
    script:
        "../scripts/overlaps.py"


rule groups:
    input:
        slides=slides_input(),
        tiles=result("tiles.parquet"),
        validations=shards_of("validate", "parquet", ["train"]),
        overlaps=result("overlaps.parquet"),
    output:
        result("groups.parquet"),
    log:
        log_path("groups"),
    benchmark:
        benchmark_path("groups")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(500, 6),
    params:
        slides=uncompared(config["folds"]["slides"]),
        contents=lambda wildcards: [] if slides_input() else identities(*filter(None, [config["folds"]["slides"]])),
        code=code_version("groups"),
    script:
        "../scripts/groups.py"


rule stain_vectors:
    input:
        shard=result("pack/train-{shard}.h5"),
    output:
        result("stain_vectors/train-{shard}.parquet"),
    log:
        log_path("stain_vectors", "train-{shard}"),
    benchmark:
        benchmark_path("stain_vectors", "train-{shard}")
    conda:
        ENVIRONMENT
    params:
        code=code_version("stain_vectors"),
    script:
        "../scripts/stain_vectors.py"


# folds.parquet is by `folds.by`; the tables of both kinds have the same columns and can be requested beside it.
rule folds:
    input:
        tiles=result("tiles.parquet"),
        groups=result("groups.parquet"),
        overlaps=result("overlaps.parquet"),
        vectors=lambda wildcards: (
            shards_of("stain_vectors", "parquet", ["train"]) if folds_by(wildcards) == "stain" else []
        ),
    output:
        folds=result("folds{kind}.parquet"),
        summary=result("folds{kind}.json"),
    log:
        log_path("folds{kind}"),
    benchmark:
        benchmark_path("folds{kind}")
    wildcard_constraints:
        kind="|-by-groups|-by-stain",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(500, 12),
    params:
        settings=lambda wildcards: {
            "by": folds_by(wildcards),
            **{key: config["folds"][key] for key in ("count", "seed", "fraction")},
        },
        code=code_version("folds"),
    script:
        "../scripts/folds.py"


rule leaks:
    input:
        tiles=result("tiles.parquet"),
        validations=shards_of("validate", "parquet"),
        overlaps=result("overlaps.parquet"),
        overlap_summary=result("overlaps.json"),
        groups=result("groups.parquet"),
        folds=result("folds.parquet"),
    output:
        result("leaks.json"),
    log:
        log_path("leaks"),
    benchmark:
        benchmark_path("leaks")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(500, 6),
    params:
        code=code_version("leaks"),
    script:
        "../scripts/leaks.py"


rule audit_page:
    input:
        audit=result("audit.json"),
        tiles=result("tiles.parquet"),
        overlaps=result("overlaps.parquet"),
        leaks=result("leaks.json"),
        train_shards=shards_of("pack", "h5", ["train"]),
        test_shards=shards_of("pack", "h5", ["test"]),
    output:
        page=report(result("audit.html"), caption="../report/audit.rst", category="Data", labels={"file": "audit"}),
        numbers=result("audit.csv"),
    log:
        log_path("audit_page"),
    benchmark:
        benchmark_path("audit_page")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(500, 0.2),
    params:
        **templates("audit"),
        settings={"dataset": {key: config["dataset"][key] for key in ("name", "source")}},
        code={stage: code_version(stage) for stage in ("audit", "overlaps", "groups", "folds", "leaks", "audit_page")},
    script:
        "../scripts/audit_page.py"


# Runs on request only: reads the complete shards.
rule verify:
    input:
        shards_of("pack", "h5") + (shards_of("stain", "h5") if STAINED else []),
    log:
        log_path("verify"),
    benchmark:
        benchmark_path("verify")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(1000),
        runtime=by_size(30, 0.01),
    script:
        "../scripts/verify.py"
