"""Synthetic tiles for `synthesize` and the tests: simulated H&E slides, and TIFF files in the layout of Kaggle's."""
