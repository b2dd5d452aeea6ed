"""Stain normalisation of tiles by the method of Macenko et al. (2009, ISBI, pp. 1107-1110), adapted to tiles.

In absorbance, the colour of a pixel is the sum of the stain colours, each times its amount (Beer-Lambert law).
Macenko's method fits a plane to the absorbances of an image, takes the two directions between which almost all pixels
of the plane lie as the colours of haematoxylin and eosin, and renders the image with the colours of a reference.

The method was designed for slides. A tile of 96 × 96 pixels from an unknown slide has less information: it may be blank
or contain one stain only, and its amount of haematoxylin is what distinguishes tumour from fat. Therefore:

- The amounts of stain are kept. A tile's highest amounts depend on its content, not on its slide; to equalise them, as
  the paper does for slides, would darken pale tissue.
- The two directions are shrunk towards the reference where the tile has little tissue and where the directions are
  close together, since one stain alone defines no second direction (`trust`).
- The component outside the plane of the two stains (pigment, ink, noise) is kept.

Normalisation is thus one 3 × 3 map of absorbances per tile. It is the identity where no stain can be estimated: blank
and black tiles stay unchanged to the bit. Between these and a tile full of tissue it changes continuously.

No existing package does this: torchstain (1.4) processes one image at a time and raises an error for an image without
tissue, staintools has had no release since 2019, tiatoolbox (2.1) requires about forty further packages, in versions
older than those used here.
"""

import numpy as np
import numpy.typing as npt

# Colours of haematoxylin and eosin: absorbance of red, green, blue, rows of length 1. Medians of `estimate` over 2,668
# original training tiles with a tissue share of at least MIN_TISSUE_SHARE, so that a typical tile changes little.
REFERENCE = np.array([[0.5184, 0.6951, 0.5263], [0.3239, 0.8868, 0.3333]])
REFERENCE /= np.linalg.norm(REFERENCE, axis=1, keepdims=True)

TISSUE_MIN, TISSUE_MAX = 0.15, 1.5  # mean log10 absorbance of a pixel that counts as tissue: neither glass nor black
ANGLE_QUANTILE = 0.01  # share of the tissue that may lie beyond each of the two directions (Macenko's alpha)
MIN_TISSUE_SHARE = 0.25  # share of tissue in a tile from which its directions are fully trusted
MIN_STAIN_ANGLE = np.radians(15)  # between the directions, from which they are fully trusted; 1 tile in 5 has less
BATCH = 64  # tiles whose absorbances are in memory at a time, 7 MB per array

_ABSORBANCE = (-np.log10((np.arange(256) + 1) / 256)).astype(np.float32)


def absorbance(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the log10 absorbance of uint8 pixels, float32 of the same shape: 0 (white) to 2.41 (black)."""
    return np.asarray(_ABSORBANCE[images])


def with_third_stain(stains: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Add a third direction, perpendicular to two stains: [..., 2, 3] → [..., 3, 3]."""
    third = unit(np.cross(stains[..., 0, :], stains[..., 1, :]))
    return np.concatenate([stains, third[..., None, :]], axis=-2)


def unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scale vectors [..., 3] to length 1; zero vectors stay zero."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def estimate(planes: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Estimate the stains of each tile by Macenko's method.

    planes: absorbances of N tiles, float32 [N, pixels, 3]. Returns the directions of haematoxylin and eosin, float64
    [N, 2, 3], rows of length 1 (the reference for a tile without tissue), and the share of its pixels that are tissue,
    float64 [N].
    """
    mean = planes @ np.full(3, 1 / 3, np.float32)
    tissue = (mean > TISSUE_MIN) & (mean < TISSUE_MAX)
    masked = planes * tissue[:, :, None]
    # The plane passes through the origin, since a pixel without stain has absorbance 0. Eigenvalues are ascending.
    axes = np.linalg.eigh((masked.transpose(0, 2, 1) @ masked).astype(np.float64))[1][:, :, :0:-1].copy()
    total = np.ones(masked.shape[1], np.float32) @ masked
    axes *= np.where(np.einsum("nik,ni->nk", axes, total) < 0, -1, 1)[:, None, :]
    along, across = np.moveaxis(planes @ axes.astype(np.float32), 2, 0)
    stains = np.tile(REFERENCE, (len(planes), 1, 1))
    for k in np.flatnonzero(tissue.any(axis=1)):
        # All pixels have a positive coordinate on the first axis, so that slopes sort as angles do.
        slopes = across[k][tissue[k]] / np.maximum(along[k][tissue[k]], 1e-6)
        edge = int(ANGLE_QUANTILE * (len(slopes) - 1))
        slopes.partition([edge, len(slopes) - 1 - edge])
        ends = unit(axes[k, :, 0] + np.outer(slopes[[edge, len(slopes) - 1 - edge]].astype(np.float64), axes[k, :, 1]))
        # Haematoxylin absorbs more red light than eosin does.
        stains[k] = ends[np.argsort(-ends[:, 0])]
    return stains, tissue.mean(axis=1)


def trust(stains: npt.NDArray[np.float64], tissue_share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the weight, in 0..1, of each tile's own stains against the reference, float64 [N]; see `estimate`."""
    angle = np.arccos(np.clip(np.einsum("ni,ni->n", stains[:, 0], stains[:, 1]), -1, 1))
    return np.asarray(np.clip(tissue_share / MIN_TISSUE_SHARE, 0, 1) * np.clip(angle / MIN_STAIN_ANGLE, 0, 1))


def normalise(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Render tiles with the stain colours of the reference; uint8 [N, 96, 96, 3] → the same shape."""
    normalised = np.empty_like(images)
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        planes = absorbance(batch).reshape(len(batch), -1, 3)
        stains, tissue_share = estimate(planes)
        weight = trust(stains, tissue_share)[:, None, None]
        source = unit(weight * stains + (1 - weight) * REFERENCE)
        # On rows of absorbances: amounts = row @ inverse(source), normalised row = amounts @ reference.
        maps = (np.linalg.inv(with_third_stain(source)) @ with_third_stain(REFERENCE)).astype(np.float32)
        grey = np.exp((planes @ maps) * np.float32(-np.log(10))) * 256 - 1
        normalised[start : start + BATCH] = np.clip(np.rint(grey), 0, 255).reshape(batch.shape)
        unchanged = weight[:, 0, 0] == 0
        normalised[start : start + BATCH][unchanged] = batch[unchanged]
    return normalised
