"""Stain normalisation of tiles by the method of Macenko et al. (2009, ISBI, pp. 1107-1110), fit for tiles.

In absorbance the colour of a pixel is a sum of the stains' colours, each times its amount (Beer-Lambert). Macenko takes
the plane in which the absorbances of an image mostly lie, and in it the two directions between which almost all pixels
lie, as the colours of haematoxylin and eosin. The image is then written with the reference's colours.

The method was made for slides. A tile of 96 × 96 pixels, whose slide is unknown, says less: it may be blank or hold one
stain only, and how much haematoxylin it holds is what tells tumour from fat. So here

- the amounts stay: a tile's highest amounts come from its content and not from its slide, and to equalise them, as the
  paper does for slides, makes pale tissue dark;
- the two directions are drawn towards the reference where there is little tissue and where they lie close together,
  since one stain alone has no second direction (`trust`);
- what lies beside the plane of the two stains (pigment, ink, noise) stays.

So normalising is one 3 × 3 map of absorbances per tile. It is the identity where nothing can be said, blank and black
tiles stay bit by bit, and between these and a full tile nothing jumps.

No package does this: torchstain (1.4) takes one image at a time and ends with an error on one without tissue,
staintools rests since 2019, tiatoolbox (2.1) brings some forty other packages, in versions below ours.
"""

import numpy as np

# Colours of haematoxylin and eosin: absorbance of red, green, blue, rows of length 1. The medians of `estimate` over
# 2,668 original training tiles, as far as they have tissue ENOUGH: so the common tile stays nearly as it is.
REFERENCE = np.array([[0.5184, 0.6951, 0.5263], [0.3239, 0.8868, 0.3333]])
REFERENCE /= np.linalg.norm(REFERENCE, axis=1, keepdims=True)

FAINT, DARK = 0.15, 1.5  # mean log10 absorbance of a pixel between which it is tissue whose colour shows
EXTREMES = 0.01  # share of the tissue that may lie beyond each of the two directions (Macenko's alpha)
ENOUGH = 0.25  # share of the tile that must be tissue for its directions to be believed
APART = np.radians(15)  # angle between the two directions from which they are believed; a fifth of the tiles has less
AT_ONCE = 64  # tiles whose absorbances are held at once, 7 MB per array

_ABSORBANCE = (-np.log10((np.arange(256) + 1) / 256)).astype(np.float32)


def absorbance(images: np.ndarray) -> np.ndarray:
    """log10 absorbance of uint8 pixels, float32 of the same shape: 0 (white) to 2.41 (black)."""
    return _ABSORBANCE[images]


def complete(stains: np.ndarray) -> np.ndarray:
    """Add to two directions [..., 2, 3] the one at right angles to both: [..., 3, 3]."""
    beside = unit(np.cross(stains[..., 0, :], stains[..., 1, :]))
    return np.concatenate([stains, beside[..., None, :]], axis=-2)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] of length 1; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def estimate(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Macenko's stains of each tile: float64 [N, 2, 3], haematoxylin and eosin, rows of length 1; and the share of
    its pixels that are tissue, float64 [N]. A tile without tissue gets the reference's.

    planes: absorbances of N tiles, float32 [N, pixels, 3].
    """
    mean = planes @ np.full(3, 1 / 3, np.float32)
    tissue = (mean > FAINT) & (mean < DARK)
    kept = planes * tissue[:, :, None]
    # The plane through the origin, since what has no stain has no absorbance; eigenvalues rise.
    axes = np.linalg.eigh((kept.transpose(0, 2, 1) @ kept).astype(np.float64))[1][:, :, :0:-1].copy()
    total = np.ones(kept.shape[1], np.float32) @ kept
    axes *= np.where(np.einsum("nik,ni->nk", axes, total) < 0, -1, 1)[:, None, :]
    along, across = np.moveaxis(planes @ axes.astype(np.float32), 2, 0)
    stains = np.tile(REFERENCE, (len(planes), 1, 1))
    for k in np.flatnonzero(tissue.any(axis=1)):
        # The first axis runs through the pixels, so that all lie before it and the slope is as good as the angle.
        slopes = across[k][tissue[k]] / np.maximum(along[k][tissue[k]], 1e-6)
        edge = int(EXTREMES * (len(slopes) - 1))
        slopes.partition([edge, len(slopes) - 1 - edge])
        ends = unit(axes[k, :, 0] + np.outer(slopes[[edge, len(slopes) - 1 - edge]].astype(np.float64), axes[k, :, 1]))
        # Haematoxylin takes more of the red than eosin does.
        stains[k] = ends[np.argsort(-ends[:, 0])]
    return stains, tissue.mean(axis=1)


def trust(stains: np.ndarray, share: np.ndarray) -> np.ndarray:
    """How much the stains of each tile count against the reference's, float64 [N] in 0..1; see `estimate`."""
    angle = np.arccos(np.clip(np.einsum("ni,ni->n", stains[:, 0], stains[:, 1]), -1, 1))
    return np.clip(share / ENOUGH, 0, 1) * np.clip(angle / APART, 0, 1)


def normalise(images: np.ndarray) -> np.ndarray:
    """Tiles in the colours of the reference; uint8 [N, 96, 96, 3] → the same shape."""
    made = np.empty_like(images)
    for start in range(0, len(images), AT_ONCE):
        part = images[start : start + AT_ONCE]
        planes = absorbance(part).reshape(len(part), -1, 3)
        stains, share = estimate(planes)
        weight = trust(stains, share)[:, None, None]
        found = unit(weight * stains + (1 - weight) * REFERENCE)
        # Rows of absorbances: amounts = row @ inverse(found), row' = amounts @ reference.
        maps = (np.linalg.inv(complete(found)) @ complete(REFERENCE)).astype(np.float32)
        grey = np.exp((planes @ maps) * np.float32(-np.log(10))) * 256 - 1
        made[start : start + AT_ONCE] = np.clip(np.rint(grey), 0, 255).reshape(part.shape)
        untouched = weight[:, 0, 0] == 0
        made[start : start + AT_ONCE][untouched] = part[untouched]
    return made
