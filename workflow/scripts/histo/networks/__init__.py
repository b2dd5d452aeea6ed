"""Networks that classify tiles: from a batch of tiles to one logit per tile. `python -m histo.networks` lists them."""
