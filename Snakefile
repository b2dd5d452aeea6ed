# Histopathologic cancer detection: from Kaggle's archive of tiles to a checked submission and a report.
#
#   snakemake --cores 8 submission          the competition
#   snakemake --cores 8 search              all hyperparameter searches of the configuration
#   snakemake --cores 8 sketch              a small network in minutes, and what the submission will take
#   snakemake --cores 8 apply --config apply='{model: lite0, tiles: folder, out: predictions.csv}'   other tiles
#   snakemake --cores 8 export              trained models as ONNX and safetensors
#   snakemake --cores 2 --configfile config/demo.yaml -- submission          synthetic tiles, no account needed

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


# With --sdm apptainer jobs run in this image, made from Containerfile: docs/cluster.md.
container: "histo.sif"


# The limits in profiles/default are those of one machine; on a cluster the scheduler counts GPUs.
resource_scopes:
    gpu="local",
    unzip="local",


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/networks.smk"
include: "workflow/rules/comparison.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/disk_space.smk"
include: "workflow/rules/estimate.smk"
include: "workflow/rules/terminal.smk"
include: "workflow/rules/record.smk"
include: f"workflow/rules/{SOURCE_RULES}.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/stain.smk"
include: "workflow/rules/imagenet_weights.smk"
include: "workflow/rules/search.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/explain.smk"
include: "workflow/rules/classical.smk"
include: "workflow/rules/results.smk"
include: "workflow/rules/sketch.smk"
include: "workflow/rules/apply.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/track.smk"


# Snakemake refuses a benchmark of a rule whose output may come from its cache.
for one in workflow.rules:
    if one.cache and one.cache.output:
        one._benchmark = None


rule submission:
    # The file for Kaggle, and the reports on models and data.
    default_target: True
    input:
        result("submission.csv"),
        result("report.html"),
        result("audit.html"),
        [result(f"search/{name}/trials.html") for name in searches_of(NETWORKS)],
        [result(f"track/{model}.json") for model in NETWORKS if config["track"]["mlflow"]],


rule search:
    # All searches of the configuration; each has a page.
    input:
        lambda wildcards: all_searches(),


onstart:
    check_space()
    check_address_space()
    record_run()
    show_progress()
    show_unused_models()


onsuccess:
    show_sketch()
    show_results()


onerror:
    show_errors(log)
