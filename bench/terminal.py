"""What the terminal shows of a run of the demo: one line per job, and Snakemake's own output for comparison.

Both runs start from nothing, in folders of their own. Snakemake's own output is that of a run with `--no-hooks`, which
leaves out `onstart` and with it the lines of jobs.
"""

import os
import subprocess
import sys
import tempfile

from measure import ROOT, Report, arguments, machine

PLUGIN_NOTE = (
    "A logger plugin, snakemake-logger-plugin-rich 0.5.1, was tried (`--logger rich`, 2026-11-22). It runs with this "
    "workflow, but no profile sets it: on a terminal, the lines that jobs write themselves end up in the border of its "
    "panel; without a terminal it names no job. It shows neither model nor fold and no remaining time, and its bars "
    "count jobs, not work."
)
SMOKE = "results/demo/audit.json", ["synthesize={train_tiles: 200, test_tiles: 60, faults: {}}"]


def run(target: str, settings: list[str], *options: str) -> list[str]:
    """Return the lines on the terminal of a run of the demo up to `target`, with paths as in the repository."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                sys.executable, "-m", "snakemake", target, "--cores", "2", "--snakefile", str(ROOT / "Snakefile"),
                "--directory", folder, *options,
                "--configfile", *(str(ROOT / "config" / name) for name in ("config.yaml", "demo.yaml")),
                *(["--config", *settings] if settings else []),
            ],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        text = done.stdout.replace(f"{folder}/", "").replace(f"{ROOT}/", "").replace(tempfile.gettempdir(), "/tmp")
    if done.returncode:
        raise SystemExit(text)
    return text.splitlines()


def shortened(line: str, width: int = 160) -> str:
    """Return a line, with the number of characters that are left out if it is long."""
    if len(line) <= width:
        return line
    kept = line[:width].rsplit(" ", 1)[0]  # no part of a word, which would look like a misspelling
    return f"{kept} [… {len(line) - len(kept)} more characters]"


def main() -> None:
    """Run the demo twice, write both terminals."""
    parser = arguments(__doc__)
    parser.add_argument("--config", nargs="*", default=[], help="changes to the settings of the demo, as of snakemake")
    options = parser.parse_args()
    target, settings = SMOKE if options.smoke else ("submission", options.config)
    report = Report(__file__, "terminal: lines of a run of the demo", machine("snakemake"), options.smoke)
    terminals = {"before": run(target, settings, "--no-hooks"), "after": run(target, settings)}
    before, after = (terminals[name] for name in ("before", "after"))
    report.add(
        "",
        f"Before: Snakemake's own output, {len(before)} lines with {sum(map(len, before)):,} characters. After: "
        f"{len(after)} lines with {sum(map(len, after)):,}."
        + (f" Settings that differ from config/demo.yaml: `{' '.join(settings)}`." if settings else ""),
    )
    report.add("", PLUGIN_NOTE)
    for name in ("after", "before"):
        lines = "\n".join(shortened(line) for line in terminals[name])
        report.add("", f"## {name.capitalize()}", "", "```", lines, "```")
    report.ratio("terminal_lines", len(after) / len(before))
    report.ratio("terminal_characters", sum(map(len, after)) / sum(map(len, before)))
    report.close()


if __name__ == "__main__":
    main()
