"""Training and inference: tile loader, augmentation, engine, training loop, checkpoints, resuming."""
