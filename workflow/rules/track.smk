# From trainings to MLflow, one job for each model; only with track.mlflow.
#
# Needs:  train/{model}/fold-{fold}/history.csv, training.json, evaluate/{model}.json
# Makes:  track/{model}.json   ids of the runs at MLflow

from importlib.util import find_spec

# Before anything is trained. With --sdm the package is in the environment of the rule.
if config["track"]["mlflow"] and not workflow.deployment_settings.deployment_method and find_spec("mlflow") is None:
    raise WorkflowError(
        "track.mlflow: expected the package mlflow-skinny, found none. Install it, or set mlflow: null."
    )


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
