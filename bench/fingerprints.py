"""Which stages run again after an edit: fingerprints of the code's behaviour against the SHA-256 of its files.

Each edit is applied to its own copy of the scripts. A stage runs again when the fingerprint of its script or of a
module below it changes (`histo.provenance.code_version`). The SHA-256 is that of the same files and of those of the
room `histo/config/`, which has no fingerprints.
"""

import hashlib
import re
import shutil
import statistics
import symtable
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from measure import ROOT, Report, alternate, arguments, machine, spread

from histo import provenance

SCRIPTS = ROOT / "workflow" / "scripts"
Versions = dict[str, dict[str, str]]


def stages() -> list[str]:
    """Return the scripts of the rules that have a fingerprint."""
    found = set()
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for rule in re.split(r"^\s*rule \w+:", path.read_text(), flags=re.MULTILINE)[1:]:
            if "code_version(" in rule:
                found.update(re.findall(r"scripts/(\w+)\.py", rule))
    return sorted(found)


def by_bytecode(folder: Path, names: list[str]) -> Versions:
    """Return the fingerprints of the stages whose scripts are in `folder`, without a cache."""
    provenance.SCRIPTS = folder
    provenance._module.cache_clear()
    provenance._files.cache_clear()
    return {name: provenance.code_version(name) for name in names}


def by_content(folder: Path, names: list[str]) -> Versions:
    """Return the SHA-256 of all files that the stages import."""
    left_out, provenance.LEFT_OUT = provenance.LEFT_OUT, ()
    try:
        files = {name: list(version) for name, version in by_bytecode(folder, names).items()}
    finally:
        provenance.LEFT_OUT = left_out
    return {
        name: {file: hashlib.sha256((folder / file).read_bytes()).hexdigest()[:16] for file in found}
        for name, found in files.items()
    }


def replace(old: str, new: str) -> Callable[[str], str]:
    """Return an edit that replaces the first occurrence of a pattern."""
    return lambda text: re.sub(old, new, text, count=1, flags=re.MULTILINE)


def rename_local(text: str) -> str:
    """Rename the first local variable whose name occurs in its function only."""
    for function in symtable.symtable(text, "", "exec").get_children():
        if function.get_type() != "function":
            continue
        lines = text.splitlines()[function.get_lineno() - 1 :]
        length = next((k for k, line in enumerate(lines[1:], 1) if re.match(r"(def|class)\b|@", line)), len(lines))
        for symbol in function.get_symbols():
            name = rf"\b{symbol.get_name()}\b"
            inside = len(re.findall(name, "\n".join(lines[:length])))
            if symbol.is_local() and not symbol.is_parameter() and inside == len(re.findall(name, text)) > 1:
                return re.sub(name, f"{symbol.get_name()}_renamed", text)
    return text


def change_result(text: str) -> str:
    """Make the function auc return another value."""
    start = text.index("return ", text.index("def auc(")) + len("return ")
    return f"{text[:start]}1 - {text[start:]}"


DOCSTRING = replace(r'\A"""', '"""One more word. ')
ZIP = "histo/tiles/zip_archive.py"
EDITS: dict[str, tuple[str, Callable[[str], str]]] = {
    "a word of a fault's text": ("histo/faults.py", replace(r'(: "\w+)', r"\1 edited")),
    "a docstring": ("histo/tiles/decoding.py", DOCSTRING),
    "the message of the CRC check (DamagedEntry)": (ZIP, replace(r'f"CRC \{', 'f"checksum {')),
    "a message of an InputError": (ZIP, replace("expected a complete zip archive", "expected an intact zip archive")),
    "a docstring of the metrics": ("histo/metrics.py", DOCSTRING),
    "a comment": ("histo/training/loop.py", replace(r"^def ", "# One more comment.\ndef ")),
    "the name of a local variable": ("histo/training/loop.py", rename_local),
    "the result of auc()": ("histo/metrics.py", change_result),
}


def edited(folder: Path, file: str, edit: Callable[[str], str]) -> Path:
    """Copy the scripts to `folder` and apply an edit. Raises ValueError if it changes nothing."""
    shutil.copytree(SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    before = (folder / file).read_text()
    (folder / file).write_text(edit(before))
    if (folder / file).read_text() == before:
        raise ValueError(f"{file}: the edit finds nothing to change; adapt EDITS in bench/fingerprints.py")
    return folder


def changed(before: Versions, after: Versions) -> list[str]:
    """Return the stages that run again."""
    return [name for name in before if before[name] != after[name]]


def processor_seconds(measure: Callable[[Path, list[str]], Versions], names: list[str]) -> Callable[[], float]:
    """Return a method for `alternate`: the processor time for all stages."""

    def timed() -> float:
        begun = time.process_time()
        measure(SCRIPTS, names)
        return time.process_time() - begun

    return timed


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="of timing")
    options = parser.parse_args()
    repeats = 2 if options.smoke else options.repeats
    report = Report(__file__, "fingerprints: stages that run again after an edit", machine(), options.smoke)
    names = stages()
    methods = {"fingerprints": by_bytecode, "SHA-256 of the files": by_content}
    report.add("", f"{len(names)} stages have a fingerprint. Names: those that run again by fingerprints.")

    before = {method: measure(SCRIPTS, names) for method, measure in methods.items()}
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for number, (title, (file, edit)) in enumerate(EDITS.items()):
            folder = edited(Path(name) / str(number), file, edit)
            mine, other = (changed(before[method], measure(folder, names)) for method, measure in methods.items())
            rows.append((title, file, len(other), len(mine), ", ".join(mine) or "-"))
    report.table(("edit", "file", "by SHA-256", "by fingerprints", "names"), rows)

    times = alternate({"": processor_seconds(by_bytecode, names)}, repeats)[""]
    files = len({file for version in before["fingerprints"].values() for file in version})
    report.add(
        f"Fingerprints of all stages ({files} modules), as the Snakefile computes them at every start: "
        f"{1000 * statistics.median(times):.0f} ms of processor time (median of n = {repeats}, IQR {spread(times)}).",
        "Ratios: stages that run again per edit that changes no result (all but the last), and seconds.",
    )
    report.ratio("fingerprints_stages_per_edit", statistics.mean(row[3] for row in rows[:-1]))
    report.ratio("fingerprints_stages_per_edit_sha256", statistics.mean(row[2] for row in rows[:-1]))
    report.ratio("fingerprints_seconds", statistics.median(times))
    report.close()


if __name__ == "__main__":
    main()
