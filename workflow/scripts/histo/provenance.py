"""Fingerprints of code: what a script and every module of this project that it imports do, not how they are written.

Snakemake tracks a script by its modification time and does not see what it imports. The fingerprint, given to a rule
as a parameter, makes a change anywhere below a script rerun exactly the rules that use it.

A module is fingerprinted by its bytecode, compiled without docstrings, without the annotations of functions, without
the texts of messages that only the user sees (`USER_ERRORS` and calls of a logger) and as if it were one line.
Comments, formatting, prose and names of local variables therefore rerun nothing. One exception: the variables that a
function shares with an inner function (in Python 3.11 also with a comprehension) are stored in alphabetical order, so
that a new name which changes this order counts.

Bytecode differs between minor versions of Python (3.11, 3.12, …), and so do fingerprints: another minor version reruns
everything that has one. Keep one version per folder of results.

The room `histo/config/` is left out, with everything that only it imports: it checks settings before anything runs,
and the checked values are parameters of the rules themselves. So is `histo/progress/`, which shows what runs and on
which no result depends. So is the table of networks, `histo/networks/names.py`: what it imports by name,
`code_version` gets for each model.
"""

import ast
import hashlib
import inspect
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

SCRIPTS = Path(__file__).resolve().parent.parent
# Folders and modules without a fingerprint.
LEFT_OUT = ("histo/config/", "histo/progress/", "histo/networks/names.py")

# Errors whose text only the user reads; that of DamagedEntry becomes part of an InputError. DivergedError is not among
# them, since its text becomes a result of a search; nor is any error that other code catches for its text.
USER_ERRORS = {"InputError", "RetryableError", "TooManyRequests", "DamagedEntry"}
LOGGERS = {"log", "logging"}
LOG_CALLS = {"debug", "info", "warning", "error", "exception", "critical"}


def code_version(script: str, modules: Iterable[str] = ()) -> dict[str, str]:
    """Return {file relative to workflow/scripts: 16 hex digits} for `<script>.py` and all that it imports.

    modules: dotted names of those that it imports by name. A dict of plain strings, sorted by file, so that Snakemake
    can compare it and a dry run can name what changed.
    """
    todo = [f"{script}.py", *(file for name in modules for file in _files(name))]
    found: dict[str, str] = {}
    while todo:
        file = todo.pop()
        if file not in found and not file.startswith(LEFT_OUT):
            imports, found[file] = _module(file)
            todo.extend(imports)
    return dict(sorted(found.items()))


def file_version(path: str) -> str:
    """Return the fingerprint of one Python file, without what it imports."""
    tree = ast.parse(Path(path).read_bytes(), filename=path)
    _reduce(tree)
    return _digest(tree)


@cache
def _module(file: str) -> tuple[frozenset[str], str]:
    """Return the files that a module imports itself, and its fingerprint."""
    path = SCRIPTS / file
    tree = ast.parse(path.read_bytes(), filename=str(path))
    names = _reduce(tree)
    return frozenset(other for name in names for other in _files(name)), _digest(tree)


@cache
def _files(name: str) -> frozenset[str]:
    """Return the files that importing the dotted name runs: its module, if it is one of this project, and packages."""
    parts = name.split(".")
    # Importing a.b.c runs the packages a and a.b too.
    packages = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    files = [f"{packages[-1]}.py", *(f"{package}/__init__.py" for package in packages)]
    return frozenset(file for file in files if (SCRIPTS / file).is_file())


def _reduce(tree: ast.Module) -> set[str]:
    """Remove from a syntax tree, in place, what does not act; return the dotted names that it imports."""
    names: set[str] = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if reduce := _REDUCE.get(type(node)):
            reduce(node, names)
        fields = node.__dict__
        if "lineno" in fields:
            fields.update(_POSITION)
        for field, value in fields.items():
            if type(value) is list:
                if field == "body":
                    # A docstring, or a string that stands alone for another reason.
                    value[:] = [item for item in value if not _is_text(item)] or [ast.Pass(**_POSITION)]
                todo += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST) and field != "ctx":  # load or store: a third of all nodes, none with a part
                todo.append(value)
    return names


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _reduce_import(node: ast.Import, names: set[str]) -> None:
    names.update(alias.name for alias in node.names)


def _reduce_import_from(node: ast.ImportFrom, names: set[str]) -> None:
    if node.module and node.level == 0:
        # `from histo import shards` names a module, `from histo.tiles.shards import Shard` does not: try both.
        names.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])


def _reduce_function(node: ast.FunctionDef | ast.AsyncFunctionDef, names: set[str]) -> None:
    node.returns = None


def _reduce_argument(node: ast.arg, names: set[str]) -> None:
    node.annotation = None


def _reduce_call(node: ast.Call, names: set[str]) -> None:
    """Empty the strings of a message, however deep in the call; the values that it shows stay."""
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in USER_ERRORS:
            pass
        case ast.Attribute(value=ast.Name(id=name), attr=method) if name in LOGGERS and method in LOG_CALLS:
            pass
        case _:
            return
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            part.value = ""
        elif isinstance(part, ast.JoinedStr):
            part.values = [value for value in part.values if not isinstance(value, ast.Constant)]
        elif isinstance(part, ast.FormattedValue):
            part.format_spec, part.conversion = None, -1


_POSITION = {"lineno": 1, "end_lineno": 1, "col_offset": 0, "end_col_offset": 0}
_REDUCE: dict[type[ast.AST], Callable[[Any, set[str]], None]] = {
    ast.Import: _reduce_import,
    ast.ImportFrom: _reduce_import_from,
    ast.FunctionDef: _reduce_function,
    ast.AsyncFunctionDef: _reduce_function,
    ast.arg: _reduce_argument,
    ast.Call: _reduce_call,
}


def _digest(tree: ast.Module) -> str:
    code = compile(tree, "", "exec", dont_inherit=True, optimize=0)
    return hashlib.sha256(_text(code).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _text(value: Any) -> str:
    """Return a constant of bytecode as text, the same in every process: code in its parts, sets in sorted order."""
    if isinstance(value, CodeType):
        flags = value.co_flags
        named = value.co_argcount + value.co_kwonlyargcount
        named += bool(flags & inspect.CO_VARARGS) + bool(flags & inspect.CO_VARKEYWORDS)
        counts = (value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount, flags)
        shared = (len(value.co_cellvars), len(value.co_freevars))  # the instructions have their numbers
        names = (value.co_names, value.co_varnames[:named], shared)
        table = getattr(value, "co_exceptiontable", b"")
        return f"code({value.co_code!r}, {table!r}, {counts}, {names}, {_text(value.co_consts)})"
    if isinstance(value, tuple | frozenset):
        parts = [_text(part) for part in value]
        return f"{type(value).__name__}({', '.join(parts if isinstance(value, tuple) else sorted(parts))})"
    return f"{type(value).__name__} {value!r}"
