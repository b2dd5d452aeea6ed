"""Synthetic tiles: slides that are drawn, and the TIFF files that Kaggle's tiles are. For the script synthesize and the tests."""
