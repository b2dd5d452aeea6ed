"""A network and a loss from files of the user's: the text of docs/extending.md as it stands."""

import re

import pytest
import torch
import yaml

from support import ROOT
from support.chain import CONFIG, DATASET, job_counts, snakemake


@pytest.mark.slow
def test_the_documented_network_runs_to_a_submission(tiny_copy):
    text = (ROOT / "docs/extending.md").read_text()
    file, settings = (re.search(rf"```{kind}\n(.*?)```", text, re.S) for kind in ("python", "yaml"))
    assert file is not None and settings is not None
    (tiny_copy / "my_networks.py").write_text(file[1])
    models = yaml.safe_load(settings[1])["models"]
    models["mine"] |= {"epochs": 1}
    models["mine"]["network"]["options"] = {"width": 8}
    losses = re.findall(r"```python\n(.*?)```", text, re.S)[1]
    (tiny_copy / "my_losses.py").write_text(losses)
    models["mine"] |= yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, re.S)[1])["models"]["robust"]
    (tiny_copy / "mine.yaml").write_text(yaml.safe_dump({"models": models}))

    def run(*options):
        config = [*CONFIG, tiny_copy / "mine.yaml"]
        return snakemake(tiny_copy, "submission", DATASET, "submission={models: [tiny, mine]}", *options, config=config)

    done = run()
    assert done.returncode == 0, done.stderr
    weights = torch.load(tiny_copy / "results/small/train/mine/fold-0/weights.pt", weights_only=True)
    assert weights["weights"]["last"]["body.0.weight"].shape == (8, 3, 3, 3)  # of the file's network with `options`
    edited = file[1].replace('"""size:', '"""Size:').replace("layers = []", "layers = []  # three")
    (tiny_copy / "my_networks.py").write_text(edited)
    done = run("--dry-run")
    assert job_counts(done) == {}, done.stdout
    (tiny_copy / "my_networks.py").write_text(file[1].replace("nn.ReLU()", "nn.GELU()"))
    done = run("--dry-run")
    assert done.returncode == 0, done.stderr
    assert job_counts(done)["train"] == job_counts(done)["predict"] == 2  # the two folds of this model alone
    (tiny_copy / "my_networks.py").write_text(file[1])
    (tiny_copy / "my_losses.py").write_text(losses.replace("q=0.7", "q=0.5"))
    assert job_counts(run("--dry-run"))["train"] == 2
