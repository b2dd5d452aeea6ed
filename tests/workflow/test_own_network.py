"""A network and a loss from files of the user's: the text of docs/extending.md as it stands."""

import re

import numpy as np
import pytest
import torch
import yaml

from support import ROOT
from support.archives import Archive
from support.chain import CONFIG, job_counts, snakemake


@pytest.mark.slow
def test_the_documented_network_runs_to_a_submission(tmp_path):
    text = (ROOT / "docs/extending.md").read_text()
    file, settings = (re.search(rf"```{kind}\n(.*?)```", text, re.S) for kind in ("python", "yaml"))
    assert file is not None and settings is not None
    (tmp_path / "my_networks.py").write_text(file[1])
    models = yaml.safe_load(settings[1])["models"]
    models["mine"] |= {"epochs": 1}
    models["mine"]["network"]["options"] = {"width": 8}
    losses = re.findall(r"```python\n(.*?)```", text, re.S)[1]
    (tmp_path / "my_losses.py").write_text(losses)
    models["mine"] |= yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, re.S)[1])["models"]["robust"]
    Archive(np.random.default_rng(7), train=40, test=10).write(tmp_path / "archive.zip")
    own = {
        "dataset": {"name": "small", "source": "archive", "archive": str(tmp_path / "archive.zip")},
        "models": models,
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(own))

    def run(*options):
        config = [*CONFIG, tmp_path / "mine.yaml"]
        return snakemake(tmp_path, "submission", "submission={models: [tiny, mine]}", *options, config=config)

    done = run()
    assert done.returncode == 0, done.stderr
    weights = torch.load(tmp_path / "results/small/train/mine/fold-0/weights.pt", weights_only=True)
    assert weights["weights"]["last"]["body.0.weight"].shape == (8, 3, 3, 3)  # of the file's network with `options`
    edited = file[1].replace('"""size:', '"""Size:').replace("layers = []", "layers = []  # three")
    (tmp_path / "my_networks.py").write_text(edited)
    done = run()
    assert job_counts(done) == {}, done.stdout
    (tmp_path / "my_networks.py").write_text(file[1].replace("nn.ReLU()", "nn.GELU()"))
    done = run()
    assert done.returncode == 0, done.stderr
    assert job_counts(done)["train"] == job_counts(done)["predict"] == 2  # the two folds of this model alone
    (tmp_path / "my_losses.py").write_text(losses.replace("q=0.7", "q=0.5"))
    assert job_counts(run("--dry-run"))["train"] == 2
