# From trainings to MLflow, one job for each model; only with track.mlflow.
#
# Needs:  train/{model}/fold-{fold}/history.csv, training.json, evaluate/{model}.json
# Makes:  track/{model}.json   ids of the runs at MLflow


rule track:
    input:
        histories=lambda wildcards: folds_of("train", "history.csv", [wildcards.model]),
        trainings=lambda wildcards: folds_of("train", "training.json", [wildcards.model]),
        evaluation=result("evaluate/{model}.json"),
    output:
        result("track/{model}.json"),
    log:
        log_path("track", "{model}"),
    wildcard_constraints:
        model=any_of(NETWORKS),
    localrule: True
    conda:
        TRACK_ENVIRONMENT
    params:
        settings=lambda wildcards: {
            "uri": config["track"]["mlflow"],
            "experiment": RUN,
            "model": wildcards.model,
            "settings": train_settings(config, wildcards.model),
            "code": network_code("train", model_settings(config, wildcards.model)),
        },
        code=code_version("track"),
    script:
        "../scripts/track.py"
