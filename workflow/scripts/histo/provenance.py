"""Which code made a file: a fingerprint of a script and of every module of ours that it imports.

Snakemake tracks a script by its modification time and does not see what it imports. The fingerprint, given to a rule
as a parameter, makes an edit anywhere below a script rerun exactly the rules that use it.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent


@cache
def _imports(path: Path) -> frozenset[Path]:
    """Files under the scripts' folder that the module at `path` imports itself."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            # `from histo import shards` names a module, `from histo.tiles.shards import Shard` does not: try both.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            module = SCRIPTS.joinpath(*name.split("."))
            found.update(file for file in (module.with_suffix(".py"), module / "__init__.py") if file.is_file())
            # Importing a.b.c runs the packages a and a.b too.
            for package in module.relative_to(SCRIPTS).parents:
                init = SCRIPTS / package / "__init__.py"
                if package != Path() and init.is_file():
                    found.add(init)
    return frozenset(found)


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def code_version(script: str) -> dict[str, str]:
    """Return {file relative to workflow/scripts: first 16 hex digits of its SHA-256} for `<script>.py` and its imports.

    A dict of plain strings, sorted by file, so that Snakemake can compare it and a dry run can name what changed.
    """
    todo, seen = [SCRIPTS / f"{script}.py"], set()
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo.extend(_imports(path))
    return {str(path.relative_to(SCRIPTS)): _digest(path) for path in sorted(seen)}
