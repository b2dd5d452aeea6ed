"""Applying a trained model to other tiles: reading them, predicting them, flagging those unlike the training tiles."""
