"""Training and prediction: batches of tiles on their device, augmentation, the loop, checkpoints, resuming."""
