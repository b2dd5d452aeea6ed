# Hyperparameter search for a model, one job per trial.
#
# Needs:  pack/*.h5 or stain/*.h5, folds.parquet, section `search` of the configuration;
#         resources/imagenet_weights/* for networks that start from ImageNet weights
# Makes:  search/{search}/trial-{trial}.json   sampled settings and score of a trial
#         search/{search}/best.yaml            settings of the best trial, which the rule train reads
#         search/{search}/trials.csv, trials.json, trials.html   all trials, as tables and as a page with charts


wildcard_constraints:
    search=any_of(SEARCHES),
    trial=r"\d{3}",


rule search_trial:
    input:
        shards=shards_of(TILES, "h5", ["train"]),
        folds=result("folds.parquet"),
        weights=lambda wildcards: imagenet_weights(SEARCH_SETTINGS[wildcards.search]["base"]),
        earlier=lambda wildcards: earlier_trials(wildcards.search, int(wildcards.trial)),
    output:
        result("search/{search}/trial-{trial}.json"),
    log:
        log_path("search_trial", "{search}/trial-{trial}"),
    benchmark:
        benchmark_path("search_trial", "{search}/trial-{trial}")
    conda:
        ENVIRONMENT
    threads: network_threads("search_trial", lambda wildcards: SEARCH_SETTINGS[wildcards.search]["base"]["threads"])
    resources:
        gpu=default_gpus,
        mem_mb=by_size(batch_memory, NETWORK_MEMORY["train"][1]),
        disk_mb=by_size(2000),
        runtime=by_size(120, training_minutes),
    params:
        # Without the number of trials, so that a larger number does not rerun finished trials.
        settings=lambda wildcards: search_by_content(wildcards.search),
        weights=lambda wildcards, output: own_weights(SEARCH_SETTINGS[wildcards.search]["base"]),
        code=lambda wildcards: network_code("search_trial", SEARCH_SETTINGS[wildcards.search]["base"]),
    script:
        "../scripts/search_trial.py"


rule search_best:
    input:
        trials=lambda wildcards: first_trials(wildcards.search, SEARCHES[wildcards.search]["trials"]),
    output:
        result("search/{search}/best.yaml"),
    log:
        log_path("search_best", "{search}"),
    benchmark:
        benchmark_path("search_best", "{search}")
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards, output: SEARCH_SETTINGS[wildcards.search]["base"],
        compared=lambda wildcards: search_by_content(wildcards.search),
        code=code_version("search_best"),
    script:
        "../scripts/search_best.py"


# A rule of its own: a change of the page trains no model again.
rule search_page:
    input:
        trials=lambda wildcards: first_trials(wildcards.search, SEARCHES[wildcards.search]["trials"]),
        best=result("search/{search}/best.yaml"),
    output:
        table=result("search/{search}/trials.csv"),
        page=report(
            result("search/{search}/trials.html"),
            caption="../report/trials.rst",
            category="Search",
            labels={"search": "{search}"},
        ),
        summary=result("search/{search}/trials.json"),
    log:
        log_path("search_page", "{search}"),
    benchmark:
        benchmark_path("search_page", "{search}")
    conda:
        ENVIRONMENT
    params:
        **templates("search"),
        settings=lambda wildcards, output: SEARCH_SETTINGS[wildcards.search],
        compared=lambda wildcards: search_by_content(wildcards.search),
        dataset={key: config["dataset"][key] for key in ("name", "source")},
        code=lambda wildcards: {
            "search_trial": network_code("search_trial", SEARCH_SETTINGS[wildcards.search]["base"]),
            **{stage: code_version(stage) for stage in ("search_best", "search_page")},
        },
    script:
        "../scripts/search_page.py"
