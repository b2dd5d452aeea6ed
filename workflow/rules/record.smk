# What a report says about the command that made it.

import time

from histo.files import write_json


def record_run():
    """Write run.json: the command, the rules of its jobs, and what it runs; only where it will write the report."""
    planned = set(workflow.dag.needrun_jobs())
    if not workflow.is_main_process or not any(result("report.html") in job.output for job in planned):
        return
    rules, jobs = {}, {}
    for job in workflow.dag.jobs:
        needed = {other.rule.name for other in workflow.dag.dependencies[job]}
        rules[job.rule.name] = sorted(needed | set(rules.get(job.rule.name, [])))
        jobs[job.rule.name] = jobs.get(job.rule.name, 0) + 1
    write_json(
        Path(result("run.json")),
        {
            "command": shlex.join(["snakemake", *sys.argv[1:]]),
            "started": time.time(),
            "rules": dict(sorted(rules.items())),
            "jobs": jobs,
            "planned": sorted(str(job.benchmark) for job in planned if job.benchmark),
        },
    )
