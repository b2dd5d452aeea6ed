"""`snakemake reproduce`: the recorded run again, in a folder of its own, with the same bits."""

import pytest

from histo.files import read_json
from support.chain import run_snakemake


@pytest.mark.slow
def test_a_finished_run_is_reproduced(finished):
    folder, _ = finished
    results = folder / "results/small"
    recorded = read_json(results / "provenance.json")
    networks = [f"train/{model}/fold-{fold}/weights.pt" for model in ("other", "tiny") for fold in (0, 1)]
    assert list(recorded["results"]) == [*networks, "submission.csv"]

    done = run_snakemake("reproduce", "--configfile", "tiny.yaml", folder=folder)
    assert done.returncode == 0, done.stderr
    again = results / "reproduce/results/small"
    assert (again / "submission.csv").read_bytes() == (results / "submission.csv").read_bytes()
    assert read_json(again / "provenance.json")["results"] == recorded["results"]
    assert f"Reproduced: {', '.join([*networks, 'submission.csv'])} have the recorded SHA-256." in done.stderr
