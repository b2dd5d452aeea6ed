"""Training and inference: tile loader, engine, training loop, checkpoints, resuming.

Imported only by scripts, those that train, predict or search.
"""
