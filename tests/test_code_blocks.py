"""The commands, settings and programs in the documentation: their targets, options and keys exist.

Nothing is started here. The programs in Python are run by the tests that RUN names.
"""

import ast
import importlib.util
import re
import shlex
import sys
from functools import cache
from pathlib import Path

import jsonschema
import pytest
import yaml
from snakemake.cli import get_argument_parser

from histo.apply.__main__ import arguments
from histo.files import read_json
from support import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "config/README.md", *sorted(ROOT.glob("docs/*.md"))]
RUN = {
    "docs/extending.md": "tests/workflow/test_own_network.py",
    "docs/shards.md": "tests/test_package.py",
    "docs/tutorial.md": "tests/scripts/test_export_model.py",
}
SCHEMA = jsonschema.Draft202012Validator(read_json(ROOT / "workflow/schemas/config.schema.json"))
YOURS = {"config/mine.yaml"}  # a file that the pages tell the user to write
parser = cache(get_argument_parser)
# Programs that are not of this repository, and the shell's own commands: their arguments are not checked.
OTHERS = {
    "$EDITOR",
    "apptainer",
    "cd",
    "export",
    "git",
    "pip",
    "podman",
    "pre-commit",
    "pytest",
    "sinfo",
    "source",
    "tmux",
}


def blocks(*languages):
    """Return (page, text) of the code blocks in these languages."""
    fence = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
    found = [(path, *block) for path in PAGES for block in fence.findall(path.read_text())]
    assert {language for _, language, _ in found} <= {"", "python", "text", "yaml"}
    return [(path.relative_to(ROOT).as_posix(), text) for path, language, text in found if language in languages]


def commands():
    """Return (page, words) of the commands in blocks without a language, and of those of ours within a sentence."""
    lines = [(page, line) for page, text in blocks("") for line in text.replace("\\\n", " ").splitlines()]
    for path in PAGES:
        prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S)
        page = path.relative_to(ROOT).as_posix()
        spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
        lines += [(page, span) for span in spans if re.match(r"(snakemake|make|python -m) [^…]+$", span)]
    found = []
    for page, line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, "&&"]:
            if word not in ("&&", "|", ";"):
                words.append(word)
                continue
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            found += [(page, words)] if words else []
            words = []
    return found


def rules():
    text = "\n".join(path.read_text() for path in [ROOT / "Snakefile", *ROOT.glob("workflow/rules/*.smk")])
    return set(re.findall(r"^ *(?:rule|use rule \w+ as) (\w+)", text, re.M))


def check_snakemake(words):
    found = parser().parse_args(words)
    assert set(found.targets) <= rules()
    files = {str(file) for file in found.configfile or ()}
    assert all((ROOT / file).is_file() for file in files - YOURS)
    profiles = [*(found.profile or ()), *filter(None, [found.workflow_profile])]
    assert all((ROOT / profile / "config.yaml").is_file() for profile in profiles)
    settings = dict(entry.split("=", 1) for entry in found.config or [])
    SCHEMA.validate({name: yaml.safe_load(value) for name, value in settings.items()})


def check_make(words):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    targets |= {f"bench-{path.stem}" for path in ROOT.glob("bench/*.py")}
    asked = [word for word in words if "=" not in word]
    assert asked and set(asked) <= targets


def check_python(words, monkeypatch):
    flag, module, *options = words
    assert flag == "-m" and importlib.util.find_spec(module)
    if module == "histo.apply" and options:
        monkeypatch.setattr(sys, "argv", [module, *options])
        arguments()


def check_command(words, monkeypatch):
    """Fail if a command names what does not exist."""
    if "snakemake" in words:
        return check_snakemake(words[words.index("snakemake") + 1 :])
    program = Path(words[0]).name
    if program == "make":
        return check_make(words[1:])
    if program == "python":
        return check_python(words[1:], monkeypatch)
    assert program in OTHERS, f"unknown program {program}"


def test_commands_name_what_exists(monkeypatch):
    found = commands()
    assert len(found) > 80
    for page, words in found:
        try:
            check_command(words, monkeypatch)
        except (AssertionError, SystemExit, jsonschema.ValidationError) as error:
            pytest.fail(f"{page}: {shlex.join(words)}: {error!r}")


@pytest.mark.parametrize(
    "line",
    [
        "make demos",
        "snakemake --cores 1 submissions",
        "snakemake --cores 1 --configfile config/none.yaml -- submission",
        "snakemake --core-count 1 submission",
        "snakemake --workflow-profile profiles/none submission",
        "snakemake --cores 1 submission --config predict='{tta: some}'",
        "snakemake --cores 1 submission --config predicts='{tta: none}'",
        "python -m histo.applies",
        "python -m histo.apply --models lite0",
        "kaggle competitions download",
    ],
)
def test_wrong_commands_are_found(line, monkeypatch):
    with pytest.raises((AssertionError, SystemExit, jsonschema.ValidationError)):
        check_command(shlex.split(line), monkeypatch)


def test_settings_are_valid():
    options = {action.dest.replace("_", "-") for action in parser()._actions}
    found = [(page, yaml.safe_load(text)) for page, text in blocks("yaml")]
    assert len(found) > 6
    for page, settings in found:
        if "executor" in settings:  # a profile
            own = {name for name in settings if not name.startswith("kubernetes-")}
            assert own <= options, page
        else:
            SCHEMA.validate(settings)
    with pytest.raises(jsonschema.ValidationError):
        SCHEMA.validate({"models": {"mine": {"epoch": 3}}})


def test_programs_are_valid_and_run_by_a_test():
    found = blocks("python")
    assert {page for page, _ in found} == RUN.keys()
    for page, text in found:
        ast.parse(text)
        assert page.rpartition("/")[2] in (ROOT / RUN[page]).read_text()
