"""Networks: from a batch of tiles to one logit per tile. `python -m histo.networks` lists them.

Imported by `training`; `config` imports the names only, which need no PyTorch.
"""
