"""What runs again after the change of each setting or file: all rules that depend on it and no other.

`make changes` prints the tables; the one of modules is in test_module_edits.py.
"""

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from histo.config.configuration import check
from support import ROOT
from support.chain import DATASET, DEMO_CONFIG, DEMO_SETTINGS, TREE, job_counts, run_snakemake, snakemake

REPORTED = {"report"}  # the report shows all settings
BLENDED = REPORTED | {"ensemble", "submission_csv"}
PREDICTED = BLENDED | {"predict", "evaluate", "saliency"}
TRAINED = PREDICTED | {"train", "feature_map"}
FOLDED = TRAINED | {"folds", "leaks", "audit_page"}
GROUPED = FOLDED | {"groups"}
AUDITED = GROUPED | {"audit"}
VALIDATED = AUDITED | {"unzip", "validate", "pack", "overlaps"}  # validate reads the temporary output of unzip
INDEXED = VALIDATED | {"index"}

# Another value of each setting, and the rules that run again. Settings of one model are in TestReruns.
CHANGES: dict[str, tuple[Any, set[str]]] = {
    "dataset.name": ("another", INDEXED),
    "run.name": ("another", AUDITED | {"overlaps"}),
    "dataset.tile_side": (128, VALIDATED),
    "dataset.centre_side": (16, VALIDATED),
    "dataset.classes": (3, INDEXED),
    "index.train_shards": (3, INDEXED),
    "index.test_shards": (2, INDEXED),
    "validate.id_is_sha1": (False, VALIDATED),
    "audit.on_fault": ("leave_out", AUDITED),
    "audit.leave_out": (["blank"], AUDITED),
    "overlaps.pixels": ("exact", GROUPED | {"overlaps"}),
    "folds.slides": (None, GROUPED),
    "folds.count": (3, FOLDED),
    "folds.seed": (2, FOLDED),
    "folds.fraction": (0.9, FOLDED),
    "folds.also_by_stain": (
        True,
        REPORTED | {"folds", "stain_vectors", "train", "predict_oof", "evaluate_by_stain", "ensemble_by_stain"},
    ),
    "folds.by": ("stain", FOLDED | {"stain_vectors"}),
    "stain.method": ("macenko", TRAINED | {"stain"}),
    "train.weight_decay": (0.01, TRAINED),
    "train.augment.hue": (0.01, TRAINED),
    "predict.tta": ("all", PREDICTED),
    "predict.average": ("probabilities", PREDICTED),
    "submission.models": (["tiny"], BLENDED),
    "submission.method": ("rank_mean", BLENDED),
    "submission.full_networks": (1, BLENDED | {"train", "predict_full"}),
    "feature_map.method": ("umap", REPORTED | {"feature_map"}),
    "track.mlflow": ("sqlite:///mlflow.db", {"track"}),
}
# The same for settings that change nothing but what the report shows, all at once.
SHOWN: dict[str, Any] = {
    "kaggle.competition": "another",
    "download.md5": "0" * 32,
    "pcam_download.address": "http://example.org/files",
    **{f"pcam_download.md5.{part}_{what}": "0" * 32 for part in ("train", "valid", "test") for what in "xy"},
    "imagenet_weights.address": "http://example.org/models",
    "submit.message": "text",
    "submit.again": True,
    "submit.patience": 5,
    "train.epochs": 7,  # both models say their own
}
# Of no setting of this run: another source, models of other names, and what a target of its own uses.
ELSEWHERE = {"dataset.source", "synthesize", "classical", "search", "apply"}


def leaves(values: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of all settings below `values`."""
    found = []
    for key, value in values.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [f"{prefix}{key}"]
    return found


def as_options(settings: dict[str, Any]) -> list[str]:
    """Options of --config for settings by dotted name."""
    nested: dict[str, Any] = {}
    for name, value in settings.items():
        *outer, last = name.split(".")
        part = nested
        for key in outer:
            part = part.setdefault(key, {})
        part[last] = value
    return [f"{section}={json.dumps(value)}" for section, value in nested.items()]


def test_every_setting_has_a_row():
    config = {"dataset": {"name": "small", "source": "kaggle"}}
    check(config)
    known = {name for name in leaves(config) if not name.startswith(("train.", "models."))}
    assert {name for name in {*CHANGES, *SHOWN} if not name.startswith("train.")} == known - ELSEWHERE


@pytest.mark.slow
def test_exactly_what_depends_on_a_setting_runs_again(finished):
    _, run = finished
    found = {}
    for name, (value, _) in CHANGES.items():
        done = run("-n", "--config", *as_options({name: value}))
        assert done.returncode == 0, done.stderr
        found[name] = set(job_counts(done)) - {"submission"}
    found["all others"] = set(job_counts(run("-n", "--config", *as_options(SHOWN)))) - {"submission"}
    show(found)
    assert found == {name: again for name, (_, again) in CHANGES.items()} | {"all others": REPORTED}


def show(found: dict[str, set[str]]) -> None:
    """Print a table: changes in rows, rules in columns."""
    rules = sorted(set().union(*found.values()))
    width = max(map(len, found)) + 2
    print("\n" + "\n".join(f"{'':{width}}{'│ ' * k}{rule}" for k, rule in enumerate(rules)))
    for name, again in found.items():
        print(f"{name:{width}}" + " ".join("●" if rule in again else "·" for rule in rules))


SHARD = "results/small/pack/train-00000.h5"
NETWORKS = "workflow/scripts/histo/networks"


def delete(folder: Path) -> None:
    (folder / SHARD).unlink()


def cut(folder: Path) -> None:
    os.truncate(folder / SHARD, 5000)


def flip(folder: Path) -> None:
    """Change one bit of a shard."""
    content = bytearray((folder / SHARD).read_bytes())
    content[5000] ^= 1
    (folder / SHARD).write_bytes(content)


def rewrite(folder: Path, ending: str, change: Callable[[bytes], bytes]) -> None:
    """Change the first file of the archive whose name ends so."""
    with zipfile.ZipFile(folder / "archive.zip") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    changed = next(name for name in contents if name.endswith(ending))
    before, contents[changed] = contents[changed], change(contents[changed])
    assert contents[changed] != before
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def relabel(folder: Path) -> None:
    """Change the label of one tile in the archive."""
    rewrite(folder, "train_labels.csv", lambda labels: labels.replace(b",0", b",1", 1))


def repaint(folder: Path) -> None:
    """Change one pixel of a tile in the archive, whose file keeps its name and size."""
    rewrite(folder, ".tif", lambda tile: tile[:5000] + bytes([tile[5000] ^ 1]) + tile[5001:])


def move_slide(folder: Path) -> None:
    """Give one tile another slide in the table of slides."""
    table = folder / "slides.csv"
    before = table.read_text()
    table.write_text(before.replace(",s1\n", ",s2\n", 1))
    assert table.read_text() != before


def remove_model(folder: Path) -> None:
    """Remove one of two models from the settings."""
    path = folder / "tiny.yaml"
    before, section, after = path.read_text().partition("  other:\n")
    path.write_text(before + after[after.index("\npredict:") :].replace("[tiny, other]", "[tiny]"))
    assert section and "other" not in path.read_text()


def add_network(folder: Path) -> None:
    """Add a network with a module of its own."""
    networks = folder / NETWORKS
    table = networks / "names.py"
    table.write_text(table.read_text().replace("OWN = {\n", 'OWN = {\n    "new": "new:build_body",\n'))
    assert '"new:build_body"' in table.read_text()
    shutil.copy(networks / "residual.py", networks / "new.py")


def edit_network(name: str) -> Callable[[Path], None]:
    """A function that edits the module of a network."""

    def edit(folder: Path) -> None:
        path = folder / NETWORKS / f"{name}.py"
        path.write_text(path.read_text() + "edited = True\n")

    return edit


# Changes of a copy of the folder, and the rules that run again. Results that do not read a deleted shard stay valid.
FILES = {
    "a shard is deleted": (delete, SHARD, set()),
    "a shard is cut short": (cut, SHARD, GROUPED | {"overlaps"}),
    "a bit of a shard is flipped": (flip, SHARD, GROUPED | {"overlaps"}),
    "a label in the archive": (relabel, "archive.zip", INDEXED),
    "a pixel in the archive": (repaint, "archive.zip", INDEXED),
    "a slide in the table": (move_slide, "slides.csv", GROUPED),
    "a model is removed": (remove_model, "tiny.yaml", BLENDED),
    "a network is added": (add_network, f"{NETWORKS}/names.py", set()),
    "a network of no model": (edit_network("residual"), f"{NETWORKS}/residual.py", set()),
    "the network of the models": (edit_network("equivariant"), f"{NETWORKS}/equivariant.py", TRAINED),
}
# The rules that run again with these options.
OPTIONS = {
    "a model is added": (("--config", "submission={models: [tiny, other, p4m]}"), TRAINED),
    "a shard less": (("--config", "index={train_shards: 1}"), INDEXED),
    "eight cores": (("--cores", "8"), set()),
    "another profile": (("--workflow-profile", ROOT / "profiles" / "slurm", "--executor", "local"), set()),
}
COPIES = {"cp -a": ("cp", "-a"), "rsync -a": ("rsync", "-a")}


def again(folder: Path, *options: str | Path) -> set[str]:
    """The rules that would run again in a folder."""
    done = run_snakemake("submission", "--configfile", "tiny.yaml", "-n", *options, folder=folder)
    assert done.returncode == 0, done.stderr
    return set(job_counts(done)) - {"submission"}


@pytest.mark.slow
def test_exactly_what_depends_on_a_file_runs_again(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder, symlinks=True)
    found = {}
    for name, (change, file, _) in FILES.items():
        shutil.copy2(folder / file, tmp_path / "before")
        change(folder)
        found[name] = again(folder)
        shutil.copy2(tmp_path / "before", folder / file)
    found |= {name: again(folder, *options) for name, (options, _) in OPTIONS.items()}
    show(found)
    assert found == {name: rules for name, (*_, rules) in (FILES | OPTIONS).items()}


def git(folder: Path, *arguments: str | Path) -> None:
    """Run git in a folder, without the configuration of this machine."""
    author = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", *author, *arguments], cwd=folder, env=environment, check=True, capture_output=True)


@pytest.mark.slow
def test_nothing_runs_again_in_another_place_and_after_another_branch(finished, tmp_path):
    copies = {name: command for name, command in COPIES.items() if shutil.which(command[0])}
    found = {}
    for name, command in copies.items():
        subprocess.run([*command, f"{finished[0]}/", tmp_path / name], check=True)
        found[name] = again(tmp_path / name)

    folder, clone = tmp_path / "cp -a", tmp_path / "clone"
    (folder / ".gitignore").write_text("__pycache__/\n")
    git(folder, "init", "--initial-branch", "first")
    git(folder, "add", ".gitignore", *TREE, "tiny.yaml")
    git(folder, "commit", "-m", "first")
    git(folder, "clone", folder, clone)
    git(folder, "checkout", "-b", "second")
    edit_network("equivariant")(folder)
    remove_model(folder)
    git(folder, "commit", "-a", "-m", "second")
    found["another branch"] = again(folder)
    git(folder, "checkout", "first")
    found["and back"] = again(folder)
    for name in ("archive.zip", "slides.csv", "results", ".snakemake"):
        subprocess.run([*COPIES["cp -a"], folder / name, clone], check=True)
    found["a clone with the results"] = again(clone)
    show(found)
    assert found == {name: set() for name in found} | {"another branch": TRAINED}
    assert len(found) == len(copies) + 3


@pytest.mark.slow
def test_one_fold_less(demo):
    """More folds are in CHANGES."""
    folder, _ = demo
    done = snakemake(folder, "submission", *DEMO_SETTINGS, "folds={count: 2}", "--dry-run", config=DEMO_CONFIG)
    assert done.returncode == 0, done.stderr
    assert set(job_counts(done)) - {"submission"} == FOLDED
    assert job_counts(done)["train"] == job_counts(done)["predict"] == 2


@pytest.mark.slow
def test_test_time_augmentation_reruns_no_classical_model(tiny_copy):
    """Classical models have none. That of networks is in CHANGES."""
    target, forest = "results/small/evaluate/forest.json", "classical={forest: {method: random_forest}}"
    done = snakemake(tiny_copy, target, DATASET, forest)
    assert done.returncode == 0, done.stderr
    assert job_counts(done) == {"features": 3, "classical": 2, "evaluate": 1}
    again = snakemake(tiny_copy, target, DATASET, forest, "predict={tta: all}", "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr
