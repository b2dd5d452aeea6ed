# From predictions to metrics, the submission and the report.
#
# Needs:  predict/{model}/fold-{fold}/*.parquet, folds.parquet, tiles.parquet, overlaps.parquet, audit.json,
#         sample_submission.csv; for the report also groups.parquet, folds.json, pack/*.h5, train/{model}/fold-{fold}/*,
#         saliency/{model}.parquet, feature_map/{model}.parquet
# Makes:  evaluate/{model}.json, ensemble.json   out-of-fold metrics of each model and of the ensemble
#         evaluate-by-stain/{model}.json, ensemble-by-stain.json   the same on folds by stain, on request
#         ensemble/oof.parquet, ensemble/test.parquet   probabilities of the ensemble
#         submission.csv, submission.json   the file for Kaggle and its summary
#         report.html, config.yaml, errors.csv   the report, the settings of the run, the misclassified training tiles
#         report.json, numbers.csv   the numbers of the report
#         provenance.json   settings, code, libraries and machine of the run, and SHA-256 of weights and submission
#         submission-score.json, scores.json   submissions to Kaggle and their scores, on request

from histo.overrides import by_recipe
from histo.pages.run_times import STAGES


rule evaluate:
    input:
        predictions=lambda wildcards: folds_of("predict", "oof.parquet", [wildcards.model]),
        folds=result("folds.parquet"),
    output:
        result("evaluate/{model}.json"),
    log:
        log_path("evaluate", "{model}"),
    benchmark:
        benchmark_path("evaluate", "{model}")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(500, 10),
    params:
        settings=lambda wildcards: {
            "model": wildcards.model,
            "tta": "none" if wildcards.model in CLASSICAL else config["predict"]["tta"],
        },
        code=code_version("evaluate"),
    script:
        "../scripts/evaluate.py"


# With folds.also_by_stain: networks only.
use rule evaluate as evaluate_by_stain with:
    input:
        predictions=lambda wildcards: folds_of("predict", "oof.parquet", [wildcards.model], "stain"),
        folds=result("folds-by-stain.parquet"),
    output:
        result("evaluate-by-stain/{model}.json"),
    log:
        log_path("evaluate_by_stain", "{model}"),
    benchmark:
        benchmark_path("evaluate_by_stain", "{model}")


rule ensemble:
    input:
        oof=folds_of("predict", "oof.parquet", MODELS),
        test=test_predictions(MODELS),
        folds=result("folds.parquet"),
        tiles=result("tiles.parquet"),
    output:
        oof=result("ensemble/oof.parquet"),
        test=result("ensemble/test.parquet"),
        summary=report(
            result("ensemble.json"), caption="../report/metrics.rst", category="Results", labels={"file": "metrics"}
        ),
    log:
        log_path("ensemble"),
    benchmark:
        benchmark_path("ensemble")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(500, 10),
    params:
        settings={
            "models": MODELS,
            "method": config["submission"]["method"],
            "recipes": by_recipe({name: settings_of(name) for name in MODELS}),
        },
        code=code_version("ensemble"),
    script:
        "../scripts/ensemble.py"


# With folds.also_by_stain. Classical models have no predictions by stain.
BLENDED_BY_STAIN = config["folds"]["also_by_stain"] and len(MODELS) > 1 and MODELS == NETWORKS


rule ensemble_by_stain:
    input:
        predictions=folds_of("predict", "oof.parquet", MODELS, "stain"),
        folds=result("folds-by-stain.parquet"),
    output:
        result("ensemble-by-stain.json"),
    log:
        log_path("ensemble_by_stain"),
    benchmark:
        benchmark_path("ensemble_by_stain")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(500, 10),
    params:
        settings={"models": MODELS, "method": config["submission"]["method"]},
        code=code_version("ensemble_by_stain"),
    script:
        "../scripts/ensemble_by_stain.py"


rule submission_csv:
    input:
        **({"truth": resource("truth.csv")} if config["dataset"]["source"] in ("synthetic", "pcam") else {}),
        sample=result("sample_submission.csv"),
        test=result("ensemble/test.parquet"),
        overlaps=result("overlaps.parquet"),
        audit=result("audit.json"),
    output:
        submission=report(
            result("submission.csv"),
            caption="../report/submission.rst",
            category="Results",
            labels={"file": "submission"},
        ),
        summary=result("submission.json"),
    log:
        log_path("submission_csv"),
    benchmark:
        benchmark_path("submission_csv")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(500, 10),
    params:
        code=code_version("submission_csv"),
    script:
        "../scripts/submission_csv.py"


rule report:
    input:
        audit=result("audit.json"),
        tiles=result("tiles.parquet"),
        overlaps=result("overlaps.parquet"),
        overlaps_summary=result("overlaps.json"),
        groups=result("groups.parquet"),
        folds=result("folds.parquet"),
        folds_summary=result("folds.json"),
        train_shards=shards_of("pack", "h5", ["train"]),
        test_shards=shards_of("pack", "h5", ["test"]),
        histories=folds_of("train", "history.csv", NETWORKS),
        trainings=folds_of("train", "training.json", NETWORKS),
        full_trainings=[
            result(f"train/{model}/full-{replicate}/training.json")
            for model in NETWORKS
            for replicate in range(config["submission"]["full_networks"])
        ],
        bests=bests_of(NETWORKS),
        evaluations=[result(f"evaluate/{model}.json") for model in MODELS],
        evaluations_by_stain=[
            result(f"evaluate-by-stain/{model}.json") for model in NETWORKS if config["folds"]["also_by_stain"]
        ],
        ensemble_by_stain=[result("ensemble-by-stain.json")] if BLENDED_BY_STAIN else [],
        ensemble=result("ensemble.json"),
        oof=result("ensemble/oof.parquet"),
        predictions=folds_of("predict", "oof.parquet", MODELS),
        submission=result("submission.json"),
        saliency=[result(f"saliency/{model}.parquet") for model in NETWORKS],
        feature_maps=[result(f"feature_map/{model}.parquet") for model in NETWORKS],
    output:
        report=report(
            result("report.html"), caption="../report/report.rst", category="Results", labels={"file": "report"}
        ),
        config=result("config.yaml"),
        errors=result("errors.csv"),
        summary=result("report.json"),
        numbers=result("numbers.csv"),
        provenance=result("provenance.json"),
    log:
        log_path("report"),
    benchmark:
        benchmark_path("report")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_size(500, 0.2),
    params:
        **templates("report"),
        config=uncompared(reported_settings()),
        settings=uncompared({name: section for name, section in config.items() if name not in ("apply", "track")}),
        given=uncompared(given_contents()),
        compared=lambda wildcards: reported_by_content(),
        evaluated=MODELS,
        models=uncompared({name: train_settings(config, name) for name in NETWORKS}),
        benchmarks=uncompared({stage: f"benchmarks/{run_folder(stage)}/{stage}" for stage in STAGES}),
        run=result("run.json"),  # of the command, see record.smk
        sent=sent(),
        code={
            stage: code_version(stage, submission_modules() if stage == "train" else ())
            for stage in (
                "validate",
                "overlaps",
                "groups",
                "folds",
                *(["stain"] if STAINED else []),
                *(["search_trial", "search_best"] if searches_of(NETWORKS) else []),
                *(["train", "predict", "saliency", "feature_map"] if NETWORKS else []),
                *(["features", "classical"] if len(NETWORKS) < len(MODELS) else []),
                "evaluate",
                "ensemble",
                *(["ensemble_by_stain"] if BLENDED_BY_STAIN else []),
                "submission_csv",
                "report",
            )
        },
    script:
        "../scripts/report.py"


# On request only: snakemake --cores 8 reproduce. Without an output: it runs each time that it is asked for.
rule reproduce:
    log:
        log_path("reproduce"),
    localrule: True
    threads: workflow.cores or 1
    params:
        record=result("provenance.json"),
        folder=result("reproduce"),
        snakefile=str(WORKFLOW / "Snakefile"),
        code=code_version("reproduce"),
    script:
        "../scripts/reproduce.py"


# On request only: snakemake --cores 1 submit
rule submit:
    input:
        submission=result("submission.csv"),
        submission_summary=result("submission.json"),
        evaluation=result("ensemble.json"),
    output:
        # If Kaggle refuses a second submission, the record of the first one must remain.
        record=update(result("submission-score.json")),
    log:
        log_path("submit"),
    benchmark:
        benchmark_path("submit")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings={**config["kaggle"], **config["submit"]},
        code=code_version("submit"),
    script:
        "../scripts/submit.py"


# On request only: all submissions to Kaggle with their scores, snakemake --cores 1 -f scores
rule scores:
    output:
        scores=result("scores.json"),
    log:
        log_path("scores"),
    benchmark:
        benchmark_path("scores")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=config["kaggle"],
        code=code_version("scores"),
    script:
        "../scripts/scores.py"
