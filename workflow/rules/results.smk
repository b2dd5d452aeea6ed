# From probabilities to figures, the submission and the report.
#
# Needs:  predict/{model}/fold-{fold}/*.parquet, folds.parquet, audit.json, sample_submission.csv
# Makes:  evaluate/{model}.json, ensemble.json   out-of-fold figures
#         submission.csv, submission.json, report.html, config.yaml


rule evaluate:
    input:
        predictions=lambda wildcards: folds_of("predict", "oof.parquet", [wildcards.model]),
        folds=result("folds.parquet"),
    output:
        result("evaluate/{model}.json"),
    log:
        log_of("evaluate", "{model}"),
    benchmark:
        times_of("evaluate", "{model}")
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: {"model": wildcards.model},
        code=code_version("evaluate"),
    script:
        "../scripts/evaluate.py"


rule ensemble:
    input:
        oof=folds_of("predict", "oof.parquet", MODELS),
        test=folds_of("predict", "test.parquet", MODELS),
        folds=result("folds.parquet"),
    output:
        oof=result("ensemble/oof.parquet"),
        test=result("ensemble/test.parquet"),
        figures=result("ensemble.json"),
    log:
        log_of("ensemble"),
    benchmark:
        times_of("ensemble")
    conda:
        ENVIRONMENT
    params:
        settings={"models": MODELS},
        code=code_version("ensemble"),
    script:
        "../scripts/ensemble.py"


rule submission_csv:
    input:
        **({"truth": resource("truth.csv")} if config["dataset"]["source"] == "synthetic" else {}),
        sample=result("sample_submission.csv"),
        test=result("ensemble/test.parquet"),
        audit=result("audit.json"),
    output:
        submission=result("submission.csv"),
        figures=result("submission.json"),
    log:
        log_of("submission_csv"),
    benchmark:
        times_of("submission_csv")
    conda:
        ENVIRONMENT
    params:
        code=code_version("submission_csv"),
    script:
        "../scripts/submission_csv.py"


# On request only: snakemake --cores 1 submit
rule submit:
    input:
        submission=result("submission.csv"),
        made=result("submission.json"),
        evaluation=result("ensemble.json"),
    output:
        # A refused second attempt must not cost the record of the first.
        record=update(result("submission-score.json")),
    params:
        settings={"competition": config["download"]["competition"], **config["submit"]},
        code=code_version("submit"),
    log:
        log_of("submit"),
    benchmark:
        times_of("submit")
    conda:
        ENVIRONMENT
    localrule: True
    script:
        "../scripts/submit.py"


# What was sent before, with its scores: snakemake --cores 1 -f scores
rule scores:
    output:
        scores=result("scores.json"),
    params:
        settings={"competition": config["download"]["competition"]},
        code=code_version("scores"),
    log:
        log_of("scores"),
    benchmark:
        times_of("scores")
    conda:
        ENVIRONMENT
    localrule: True
    script:
        "../scripts/scores.py"
