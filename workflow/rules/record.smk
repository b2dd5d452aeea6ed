# What a report says about the command that made it.

import time

from histo.files import write_json


def record_run():
    """Write run.json: the command, the rules of its jobs, and what it runs; only where it will write the report."""
    planned = set(workflow.dag.needrun_jobs())
    if not workflow.is_main_process or not any(result("report.html") in job.output for job in planned):
        return
    needed, jobs, first = {}, {}, {}
    for level, row in enumerate(workflow.dag.toposorted()):
        for job in row:
            name = job.rule.name
            needed.setdefault(name, set()).update(other.rule.name for other in workflow.dag.dependencies[job])
            jobs[name] = jobs.get(name, 0) + 1
            first.setdefault(name, level)
    # Jobs form no cycle, rules may: a network that learns from pseudo-labels needs predictions of another one.
    rules = {name: sorted(other for other in others if first[other] < first[name]) for name, others in needed.items()}
    # As UTF-8: with an ASCII locale, Python reads other characters as surrogates, which no file can hold.
    arguments = [os.fsencode(argument).decode("utf-8", "replace") for argument in sys.argv[1:]]
    write_json(
        Path(result("run.json")),
        {
            "command": shlex.join(["snakemake", *arguments]),
            "started": time.time(),
            "rules": dict(sorted(rules.items())),
            "jobs": jobs,
            "planned": sorted(str(job.benchmark) for job in planned if job.benchmark),
        },
    )
