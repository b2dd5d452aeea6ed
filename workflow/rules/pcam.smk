# From PatchCamelyon's own files to shards.
#
# Needs:  pcam_download.address   address of the folder with the six files
# Makes:  index.parquet, sample_submission.csv   its tiles; the parts valid and test are the test split
#         truth.csv   labels of the test split, for a score that is computed locally
#         validate/{split}-{shard}.parquet, pack/{split}-{shard}.h5   measurements of the tiles, and shards


rule pcam_download:
    output:
        resource("camelyonpatch_level_2_split_{part}_{what}.h5.gz"),
    log:
        log_path("pcam_download", "{part}_{what}"),
    benchmark:
        benchmark_path("pcam_download", "{part}_{what}")
    wildcard_constraints:
        part="train|valid|test",
        what="x|y",
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(1000),
        disk_mb=by_size(15000),
        runtime=by_size(240),
    params:
        # No code version: the file is verified by its MD5, whichever version of the code downloaded it.
        md5=lambda wildcards: config["pcam_download"]["md5"][f"{wildcards.part}_{wildcards.what}"],
        address=uncompared(config["pcam_download"]["address"]),
        results=result(""),
    script:
        "../scripts/pcam_download.py"


rule pcam_gunzip:
    input:
        resource("camelyonpatch_level_2_split_{part}_x.h5.gz"),
    output:
        temp(result("pcam_gunzip/{part}.h5")),
    log:
        log_path("pcam_gunzip", "{part}"),
    benchmark:
        benchmark_path("pcam_gunzip", "{part}")
    wildcard_constraints:
        part="train|valid|test",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(1000),
        disk_mb=by_size(100, 2),
        runtime=by_size(30, 0.02),
    params:
        code=code_version("pcam_gunzip"),
    script:
        "../scripts/pcam_gunzip.py"


rule pcam_index:
    input:
        images=pcam_tiles(["train", "test"]),
        labels=pcam_labels(),
    output:
        index=result("index.parquet"),
        sample=result("sample_submission.csv"),
        truth=resource("truth.csv"),
    log:
        log_path("pcam_index"),
    benchmark:
        benchmark_path("pcam_index")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(500, 0.2),
        runtime=by_size(30, 0.02),
    params:
        settings={"shards": {split: len(SHARDS[split]) for split in SHARDS}, "parts": PCAM_PARTS},
        code=code_version("pcam_index"),
    script:
        "../scripts/pcam_index.py"


rule pcam_pack:
    input:
        images=lambda wildcards: pcam_tiles([wildcards.split]),
        index=result("index.parquet"),
    output:
        shard=result("pack/{split}-{shard}.h5"),
        validation=result("validate/{split}-{shard}.parquet"),
    log:
        log_path("pcam_pack", "{split}-{shard}"),
    benchmark:
        benchmark_path("pcam_pack", "{split}-{shard}")
    cache: shared_cache()
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(1000, 0.1),
        disk_mb=by_size(100, 1),
        runtime=by_size(30, 0.02),
    params:
        settings=lambda wildcards: {
            "split": wildcards.split,
            "shard": int(wildcards.shard),
            "parts": PCAM_PARTS[wildcards.split],
        },
        code=code_version("pcam_pack"),
    script:
        "../scripts/pcam_pack.py"
