# What is printed on the terminal: jobs and remaining time, errors, results.

import functools

from snakemake.logging import logger

from histo.config.configuration import PREDEFINED
from histo.failures import failures, show_errors_last
from histo.files import read_json
from histo.overrides import resolve_search
from histo.progress.remaining import Training, Trainings
from histo.progress.terminal import show_jobs

show_errors_last(not workflow.remote_exec)


def show_progress():
    """Show one line per job on the terminal, and the time left after each training; --verbose shows all of Snakemake's."""
    if not workflow.is_main_process or workflow.output_settings.verbose:
        return

    def epochs(model):
        bests = bests_of([model])
        if all(Path(path).is_file() for path in bests):
            return resolve_search(train_settings(config, model), bests)["epochs"]
        return SEARCH_SETTINGS[config["models"][model]["search"]]["base"]["epochs"]

    def tiles():
        return {row["fold"]: row["tiles"] for row in read_json(Path(result("folds.json")))["folds"]}

    jobs = list(workflow.dag.needrun_jobs())
    trainings = {
        workflow.dag.jobid(job): Training(
            job.wildcards.model,
            None if kind == "full" else int(number),
            Path(result(f"train/{job.wildcards.model}/{kind}-{number}/history.csv")),
        )
        for job in jobs
        if job.rule.name == "train"
        for kind, _, number in [job.wildcards.network.partition("-")]
    }
    show_jobs(logger, f"logs/{NAME}", len(jobs), Trainings(trainings, epochs, functools.cache(tiles)))


def show_unused_models():
    """Name the networks of the user's that nothing trains."""
    unused = [name for name in config["models"] if name not in {*trained_models(), *PREDEFINED}]
    if unused:
        print(f"Not trained, because submission.models does not name them: {', '.join(unused)}", file=sys.stderr)


def show_errors(logs):
    """Print last the errors that failed jobs wrote into their logs; logs: path or paths of Snakemake's own."""
    texts = [Path(log).read_text(encoding="utf-8") for log in ([logs] if isinstance(logs, str) else logs)]
    for failure in failures("\n".join(texts)):
        print(f"\nFailed: {failure}", file=sys.stderr)


def show_sketch():
    """Print the estimate that this command has made."""
    if any(job.rule.name == "sketch" for job in workflow.dag.jobs):
        path = Path(result("sketch.md"))
        print(f"\n{path.read_text(encoding='utf-8')}\nEstimate         {path}", file=sys.stderr)


def show_results():
    """Print the AUC of the submission and the paths of the results, if the submission belongs to what was asked for."""
    if not any(job.rule.name == "submission_csv" for job in workflow.dag.jobs):
        return  # what there is may be of an earlier run
    paths = {name: Path(result(name)) for name in ("submission.csv", "report.html", "ensemble.json", "submission.json")}
    if all(path.is_file() for path in paths.values()):
        ensemble, submission = read_json(paths["ensemble.json"]), read_json(paths["submission.json"])
        folds = ", ".join(f"{row['auc']:.4f}" for row in ensemble["folds"])
        interval = f"{ensemble['auc_low']:.4f} to {ensemble['auc_high']:.4f}"
        print(f"\nOut-of-fold AUC  {ensemble['auc']:.4f} ({interval}); by fold {folds}", file=sys.stderr)
        if "truth" in submission:
            parts = submission["truth"].get("parts", {}).items()
            shares = ", ".join(f"{part} part {rated['auc']:.4f}" for part, rated in parts)
            rated = f"{submission['truth']['auc']:.4f}" + (f" ({shares})" if shares else "")
            print(f"Held-out labels  AUC {rated} of the submission", file=sys.stderr)
        print(f"Submission       {paths['submission.csv']} ({submission['rows']:,} rows)", file=sys.stderr)
        print(f"Report           {paths['report.html']}", file=sys.stderr)
