"""Synthetic tiles: simulated H&E slides, and TIFF files in the layout of Kaggle's.

Imported only by the script `synthesize` and the tests.
"""
