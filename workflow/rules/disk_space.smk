# Disk space that the jobs of a run need, checked before the first of them starts. The amounts: docs/resources.md.

from histo.disk_space import require_space
from histo.tables import count_rows
from histo.tiles.source import count_tiles

PCAM_TILES = 327_680
TRAINING = 100 * 10**6  # bytes of a training: weights, state to resume from, predictions


def tiles_of_run():
    """Number of tiles: of the index, or what is known of the source before there is one; 0 for a later download."""
    source, index = config["dataset"]["source"], Path(result("index.parquet"))
    if index.is_file():
        return count_rows(index)
    if source == "pcam":
        return PCAM_TILES
    if source == "synthetic":
        return sum(config["synthesize"][f"{split}_tiles"] for split in SHARDS)
    return count_tiles(Path(archive()))


def needed_space(jobs):
    """What jobs will write, as (folder, bytes, for what); jobs: name of the rule of each."""
    shards = [jobs.count(name) for name in ("pack", "pcam_pack", "stain")]
    tile = 3 * GEOMETRY["tile_side"] ** 2
    tiles = tiles_of_run() if sum(shards) or "synthesize" in jobs else 0
    shard = tiles * tile // len(shards_of("pack", "h5"))
    # PatchCamelyon's files are unpacked as a whole; of an archive, the files of two shards exist at a time.
    temporary = tiles * tile * (jobs.count("pcam_gunzip") > 0) + 2 * shard * (jobs.count("unzip") > 0)
    trainings = jobs.count("train") + jobs.count("search_trial")
    return [
        (Path(resource("")), int(1.05 * tiles * tile) * jobs.count("synthesize"), "archive"),
        (Path(result("pack")), sum(shards) * shard, "shards"),
        (Path(result("pack")), temporary, "temporary files"),
        (Path(result("train")), trainings * TRAINING, "trainings"),
    ]


def check_space():
    """End the run before its first job if a disk has too little space."""
    if workflow.is_main_process:
        try:
            require_space(needed_space([job.rule.name for job in workflow.dag.needrun_jobs()]))
        except InputError as error:
            raise WorkflowError(str(error))
