# Inputs of rules that depend on where the tiles come from.

PCAM_PARTS = {"train": ["train"], "test": ["valid", "test"]}  # in this order


def archive():
    """Path of the archive: given by the user (a zip or an extracted folder), or created by a rule."""
    dataset = config["dataset"]
    return dataset[dataset["source"]] if dataset["source"] in ("archive", "folder") else resource("archive.zip")


def given_files():
    """Paths of the files by which a change of the user's data is noticed; of a folder its tables alone, since 277,000
    files are too many. Empty if a rule creates the archive."""
    if config["dataset"]["source"] == "folder":
        return [str(Path(archive()) / table) for table in ("train_labels.csv", "sample_submission.csv")]
    return [archive()] if config["dataset"]["source"] == "archive" else []


def archive_input():
    """Path of the archive as an input, as a list; empty if the user gives it: then its content is a parameter."""
    return [] if given_files() else [archive()]


def tile_file():
    """Path of the tile file of a shard, as a list: empty for a folder, whose files are read where they are."""
    return [] if config["dataset"]["source"] == "folder" else [result("unzip/{split}-{shard}.tiles")]


def tiles_of(input):
    """Path of the files of a shard's tiles: its tile file, the first input, or the folder."""
    return archive() if config["dataset"]["source"] == "folder" else input[0]


def slides_input():
    """Path of the table of slides as an input, as a list; empty if the user gives it, or if there is none."""
    slides = config["folds"]["slides"]
    return (
        [slides] if slides and slides == resource("slides.csv") and config["dataset"]["source"] == "synthetic" else []
    )


def folds_by(wildcards):
    """What a table of folds is by, groups or stain: what its name says, or `folds.by`."""
    return wildcards.kind.removeprefix("-by-") or config["folds"]["by"]


def pcam_tiles(splits):
    """Paths of PatchCamelyon's unpacked tiles, for all parts of the given splits."""
    return [result(f"pcam_gunzip/{part}.h5") for split in splits for part in PCAM_PARTS[split]]


def pcam_labels():
    """Paths of PatchCamelyon's labels, of all parts."""
    names = [part for split in PCAM_PARTS for part in PCAM_PARTS[split]]
    return [resource(f"camelyonpatch_level_2_split_{name}_y.h5.gz") for name in names]


def no_apply():
    """Raise the error that says which settings `apply` needs."""
    raise WorkflowError(
        "The configuration has no section `apply`, which names the model and the tiles. Add --config "
        "apply='{model: NAME, tiles: PATH, out: predictions.csv}'."
    )
