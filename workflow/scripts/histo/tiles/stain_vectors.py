"""The stain of tiles as a vector: hue of the absorbed light at equal absorbance, whatever the density of cells.

Absorbances are natural logarithms relative to the white of a slide. The mean colour of a tile, or a ratio of its mean
absorbances, depends on how many nuclei it shows; as a measure of stain it would separate tumour from fat. Pixels of
equal total absorbance are compared instead: in each of `BANDS` ranges of it, the mean logarithms of the ratios of
absorbance, red to blue and green to blue. What still depends on density is removed by regression on the share of dark
pixels.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

WHITE = 245  # grey level of glass; between slides it differs by about 5
EDGES = (0.35, 0.75, 1.25, 1.8, 3.0)  # of the bands: sum of the absorbances of red, green and blue
BANDS = len(EDGES) - 1
STEP = 2  # every second pixel of every second line is used
SUMS = BANDS * 3
OFFSET = 0.05  # added to absorbances, so that their ratios are bounded
PRIOR = 25  # pixels of average stain that are added to each band
LARGEST = 4.0  # standard deviations at which a component of a vector is clipped
BATCH = 64  # tiles measured at a time; their pixels stay in the processor's cache

# Of each training tile: its `band_sums`, band by band.
SCHEMA = pa.schema([("id", pa.string()), ("sums", pa.list_(pa.float32(), SUMS))])

_ABSORBANCE = np.maximum(-np.log(np.maximum(np.arange(256), 1) / WHITE), 0).astype(np.float32)
_LOG_ABSORBANCE = np.log(_ABSORBANCE + OFFSET)


def band_sums(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Sum over the pixels of each band: uint8 [N, 96, 96, 3] → float32 [N, BANDS, 3].

    The sums are those of 1 (share of all pixels), of ln(red / blue) and of ln(green / blue), divided by the number of
    pixels of a tile that are used.
    """
    pixels = images[:, ::STEP, ::STEP].reshape(len(images), -1, 3)
    total = _ABSORBANCE[pixels].sum(2)
    logs = _LOG_ABSORBANCE[pixels]
    terms = np.stack([np.ones_like(total), logs[..., 0] - logs[..., 2], logs[..., 1] - logs[..., 2]], axis=2)
    bands = (total[:, np.newaxis] >= np.array(EDGES[:-1])[:, np.newaxis]) & (
        total[:, np.newaxis] < np.array(EDGES[1:])[:, np.newaxis]
    )
    return np.asarray(bands.astype(np.float32) @ terms / np.float32(pixels.shape[1]))


def stain_vectors(sums: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the stain vectors of N tiles or groups, float64 [N, 2 · BANDS], with standard deviation 1.

    sums: float [N, BANDS, 3], `band_sums` averaged over the tiles of a group; weights: tiles of each group [N].
    """
    average = np.average(sums, axis=0, weights=weights)
    average = average[:, 1:] / np.maximum(average[:, :1], 1e-9)
    # A band with few pixels says little: it is drawn to the average.
    prior = PRIOR * STEP**2 / 96**2 / np.sqrt(weights)[:, np.newaxis, np.newaxis]
    vectors = ((sums[:, :, 1:] + prior * average) / (sums[:, :, :1] + prior)).reshape(len(sums), -1)
    dark = sums[:, -1, 0]
    terms = np.stack([np.ones_like(dark), dark, dark**2], axis=1)
    root = np.sqrt(weights)[:, np.newaxis]
    vectors = vectors - terms @ np.linalg.lstsq(terms * root, vectors * root, rcond=None)[0]
    spread = np.sqrt(np.average(vectors**2, axis=0, weights=weights))
    return np.asarray(np.clip(vectors / np.maximum(spread, 1e-9), -LARGEST, LARGEST))
