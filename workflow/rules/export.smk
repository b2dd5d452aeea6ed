# From trained models to files for other programs, on request.
#
# Needs:  train/{model}/{network}/weights.pt, evaluate/{model}.json, ensemble.json, pack/test-00000.h5
# Makes:  export/{model}/{network}.onnx, ensemble.onnx   each network, and all with test-time augmentation
#         export/{model}/{network}.pt2, ensemble.pt2     the same as programs of torch.export
#         export/{model}/model.safetensors, model.json   weights, and what belongs to them
#         export/{model}/README.md   model card


rule export_model:
    input:
        # Results by stratum are those of the submission.
        **({"ensemble": result("ensemble.json")} if len(MODELS) == 1 else {}),
        weights=lambda wildcards: trained_networks(wildcards.model),
        evaluation=result("evaluate/{model}.json"),
        shard=result("pack/test-00000.h5"),
    output:
        programs=[
            result(f"export/{{model}}/{name}.{ending}")
            for name in [*networks(FOLDS, config["submission"]["full_networks"]), "ensemble"]
            for ending in ("onnx", "pt2")
        ],
        weights=result("export/{model}/model.safetensors"),
        description=result("export/{model}/model.json"),
        card=result("export/{model}/README.md"),
    log:
        log_path("export_model", "{model}"),
    benchmark:
        benchmark_path("export_model", "{model}")
    wildcard_constraints:
        model=any_of(NETWORKS),
    conda:
        EXPORT_ENVIRONMENT
    resources:
        mem_mb=by_size(4000, 4),
    params:
        settings=lambda wildcards: {
            "model": wildcards.model,
            "dataset": NAME,
            "source": config["dataset"]["source"],
            **config["predict"],
        },
        code=lambda wildcards: network_code("export_model", model_settings(config, wildcards.model)),
    script:
        "../scripts/export_model.py"


# snakemake --cores 8 export
rule export:
    input:
        [result(f"export/{model}/README.md") for model in NETWORKS],
