"""Synthetic H&E slides: regions of tissue drawn pixel by pixel, with the position of every tumour nucleus known.

A region is two maps of dye, haematoxylin (nuclei) and eosin (fibres, cytoplasm), converted to colours by the law of
Beer and Lambert: light = white * 10 ** -(h * H + e * E). The absorbance vectors H and E are those of Ruifrok &
Johnston, Anal. Quant. Cytol. Histol. 2001, 23:291-299, varied per slide as stains vary between laboratories.

The implementation is chosen for speed. Maps are small integers; tissue is laid out at a quarter of the resolution and
upsampled; nuclei are copied from a bank drawn once. Nuclei of one kind lie on a jittered lattice, whose points are
split into four classes so far apart that the boxes of one class never overlap: a class is one gather and one copy,
however many nuclei it has.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

REGION = 1152  # pixels: side of a region
COARSE = 4  # pixels per step of the coarse maps on which tissue is laid out
COARSE_POINTS = REGION // COARSE + 1  # per side of a coarse map, both ends included
GRAIN = 2048  # pixels: side of the noise image from which each region takes a random crop
DIRECTIONS = 16  # directions in which elongated nuclei are drawn
FIBRES = 8192  # period of the dye profile across the fibres, in steps of half a pixel

TUMOUR_AREA = 0.36  # share of a region
HAEMATOXYLIN = (0.650, 0.704, 0.286)  # absorbance of red, green, blue: Ruifrok & Johnston 2001
EOSIN = (0.072, 0.990, 0.105)
BROWN_HAEMATOXYLIN = (0.52, 0.66, 0.54)  # the other extreme: laboratories with brownish nuclei and salmon fibres
SALMON_EOSIN = (0.22, 0.80, 0.56)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Bank:
    """Drawn objects of one kind (nuclei or fat cells): boxes of dye around a lattice point, each object off-centre.

    boxes: uint8 [N, 2 * pitch, 2 * pitch], 0 outside the object; box 0 is empty.
    centres: int16 [N, 2], y and x of the object in its box.
    """

    pitch: int
    boxes: npt.NDArray[np.uint8]
    centres: npt.NDArray[np.int16]


@dataclass(frozen=True)
class Slide:
    """The properties that all regions of one slide share.

    colours: three bytes [65536], red, green and blue at index haematoxylin * 256 + eosin.
    lymphoid, fat, glass: shares of the area that are lymphoid tissue, fat, and glass beside the tissue.
    """

    colours: npt.NDArray[np.void]
    lymphoid: float
    fat: float
    glass: float


@dataclass(frozen=True)
class Region:
    """A drawn region of a slide.

    image: uint8 [REGION, REGION, 3], RGB.
    tissue: int16 [REGION, REGION], 255 in tissue, 0 in glass and fat.
    tumour: int [N, 2], y and x of the centre of each tumour nucleus.
    """

    image: npt.NDArray[np.uint8]
    tissue: npt.NDArray[np.int16]
    tumour: npt.NDArray[np.int64]


def draw_bank(
    rng: np.random.Generator,
    count: int,
    pitch: int,
    *,
    jitter: float,
    radius: tuple[float, float],
    elongation: tuple[float, float],
    irregularity: float,
    dye: tuple[float, float],
    pallor: tuple[float, float],
    nucleoli: int = 0,
    angles: npt.NDArray[np.float64] | None = None,
) -> Bank:
    """Draw `count` objects of one kind. Pairs of numbers are the range from which a value is drawn for each object.

    jitter, radius: pixels; elongation: long axis divided by short axis; irregularity: standard deviation of the
    outline's waves, relative to the radius; dye: at the rim, 0 to 255; pallor: how much less dye the inside has than
    the rim, 0 to 1; angles: radians, direction of the long axis of each object; random if None.
    """

    def each(low: float, high: float) -> Floats:
        return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)

    pixels = np.arange(2 * pitch, dtype=np.float32)
    centre = rng.uniform(pitch - jitter, pitch + jitter, (2, count, 1, 1)).astype(np.float32)
    dy, dx = pixels[None, :, None] - centre[0], pixels[None, None, :] - centre[1]
    angle = each(0, np.pi) if angles is None else angles[:, None, None].astype(np.float32)
    axis = np.sqrt(each(*elongation))
    along = (dx * np.cos(angle) + dy * np.sin(angle)) / axis
    across = (dy * np.cos(angle) - dx * np.sin(angle)) * axis
    distance = np.hypot(along, across) + np.float32(1e-6)
    direction = (along + np.complex64(1j) * across) / distance
    outline = np.ones_like(distance)
    for waves in (2, 3, 5):
        swing = rng.normal(0, irregularity / waves**0.5, (count, 1, 1)) * np.exp(1j * each(0, 2 * np.pi))
        outline += (swing.astype(np.complex64) * direction**waves).real
    inside = each(*radius) * outline - distance  # approximate distance from the outline in pixels, positive inside
    chromatin = rng.standard_normal(distance.shape, np.float32)
    for side in (1, 2):
        chromatin = (chromatin + np.roll(chromatin, 1, side)) / np.float32(2**0.5)
    amount = each(*dye) * (1 - each(*pallor) * np.clip(inside / 3, 0, 1) + 0.09 * chromatin)
    for _ in range(nucleoli):
        spot = rng.normal(0, 2, (2, count, 1, 1)).astype(np.float32)
        amount += each(0, 90) * np.exp(-((dy - spot[0]) ** 2 + (dx - spot[1]) ** 2) / 2.5)
    boxes = np.rint(np.clip(amount, 1, 255) * np.clip(inside / 1.6 + 0.5, 0, 1)).astype(np.uint8)
    boxes[0] = 0
    return Bank(pitch, boxes, np.rint(centre[:, :, 0, 0].T).astype(np.int16))


def smooth_noise(rng: np.random.Generator, scale: float) -> Floats:
    """Return smooth noise, float32 [COARSE_POINTS, COARSE_POINTS]: a cubic B-spline with normally distributed knots.

    scale: distance of the knots in coarse steps.
    """
    points = int(COARSE_POINTS / scale) + 5
    field = rng.standard_normal((points, points), dtype=np.float32)
    position = np.arange(COARSE_POINTS, dtype=np.float32) / np.float32(scale) + rng.random(dtype=np.float32)
    knot = position.astype(int)
    t = (position - knot)[:, None]
    weights = (1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6
    for _ in ("rows", "columns"):
        field = np.ascontiguousarray(sum(weight * field[knot + k] for k, weight in enumerate(weights)).T)
    return field


def two_scale_noise(rng: np.random.Generator, scale: float, fine: float) -> Floats:
    """Return the sum of smooth noise at two scales, float32 [COARSE_POINTS, COARSE_POINTS], standard deviation 1."""
    field = smooth_noise(rng, scale) + np.float32(0.4) * smooth_noise(rng, fine)
    return np.asarray(field / field.std())


def soft_mask(field: Floats, share: float, ramp: float) -> Floats:
    """Return a mask of the highest `share` of a field: 1 inside, 0 outside, linear over `ramp` units of the field."""
    level = np.quantile(field[::4, ::4], 1 - share)
    return np.asarray(np.clip((field - np.float32(level)) / np.float32(ramp) + np.float32(0.5), 0, 1))


def upsample(coarse: Floats) -> npt.NDArray[np.int16]:
    """Round a coarse map of values from 0 to 32767 and interpolate it linearly: int16 [REGION, REGION].

    Values from 16384 on are returned modulo 16384, since sums of four overflow.
    """
    field = np.rint(coarse).astype(np.uint16)
    for _ in ("columns", "rows"):
        field = np.ascontiguousarray(field.T)
        out = np.empty((REGION, field.shape[1]), np.uint16)
        for k in range(COARSE):
            out[k::COARSE] = ((COARSE - k) * field[:-1] + k * field[1:]) >> 2
        field = out
    return field.view(np.int16)


def stamp(
    rng: np.random.Generator,
    canvas: npt.NDArray[np.uint8],
    bank: Bank,
    density: Floats,
    tissue: npt.NDArray[np.int16] | None = None,
    direction: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.int64]:
    """Stamp objects of one kind onto `canvas` (uint8 [REGION, REGION]); later objects cover earlier ones.

    density: [COARSE_POINTS, COARSE_POINTS], probability that a lattice point is used; tissue: [REGION, REGION], no
    object is centred on glass or fat; direction: int [COARSE_POINTS, COARSE_POINTS], for a bank drawn in DIRECTIONS.
    Returns the centres that lie inside the canvas, int [N, 2].
    """
    box = 2 * bank.pitch
    across = (REGION + bank.pitch) // box + 1  # boxes per row and column
    rows = bank.boxes.reshape(-1).view(f"V{box}")
    centres = []
    for top, left in ((-bank.pitch, -bank.pitch), (-bank.pitch, 0), (0, -bank.pitch), (0, 0)):
        ys, xs = top + box * np.arange(across)[:, None], left + box * np.arange(across)[None, :]
        pick = rng.integers(1, len(bank.boxes), (across, across))
        if direction is not None:
            each = len(bank.boxes) // DIRECTIONS
            middle = (np.clip((corner + bank.pitch) // COARSE, 0, COARSE_POINTS - 1) for corner in (ys, xs))
            pick = direction[tuple(middle)] * each + pick % each
        y, x = ys + bank.centres[pick, 0], xs + bank.centres[pick, 1]
        near = np.clip(y, 0, REGION - 1), np.clip(x, 0, REGION - 1)
        used = rng.random((across, across), np.float32) < density[near[0] // COARSE, near[1] // COARSE]
        if tissue is not None:
            used &= tissue[near] > 128
        layer = rows.take(np.where(used, pick, 0)[:, None, :] * box + np.arange(box)[:, None])
        layer = layer.view(np.uint8).reshape(across * box, across * box)
        layer = layer[max(-top, 0) :, max(-left, 0) :][:REGION, :REGION]
        part = canvas[: len(layer), : layer.shape[1]]
        part &= (layer > 70).view(np.uint8) - np.uint8(1)  # 0 under the new objects, 255 elsewhere
        np.maximum(part, layer, out=part)
        used &= (y >= 0) & (y < REGION) & (x >= 0) & (x < REGION)
        centres.append(np.stack([y[used], x[used]], axis=1))
    return np.concatenate(centres)


class Painter:
    """Draw slides and regions; hold the banks and noise images that all of them share."""

    def __init__(self, rng: np.random.Generator):
        self.lymphocytes = draw_bank(
            rng, 2048, 9, jitter=3, radius=(3.4, 4.6), elongation=(1, 1.3), irregularity=0.05,
            dye=(170, 235), pallor=(0, 0.4),
        )  # fmt: skip
        self.reactive = draw_bank(  # large cells of healthy lymph nodes, in size between lymphocytes and tumour
            rng, 1024, 12, jitter=4, radius=(4.5, 6.3), elongation=(1, 1.6), irregularity=0.07,
            dye=(120, 200), pallor=(0.2, 0.6),
        )  # fmt: skip
        angles = np.repeat(np.arange(DIRECTIONS) * np.pi / DIRECTIONS, 64)
        self.fibroblasts = draw_bank(
            rng, len(angles), 13, jitter=4, radius=(2.4, 3.6), elongation=(3, 6), irregularity=0.06,
            dye=(120, 210), pallor=(0, 0.3), angles=angles,
        )  # fmt: skip
        self.tumour = draw_bank(
            rng, 2048, 14, jitter=4.5, radius=(5.2, 8.2), elongation=(1, 1.8), irregularity=0.12,
            dye=(140, 235), pallor=(0.1, 0.6), nucleoli=2,
        )  # fmt: skip
        self.fat = draw_bank(
            rng, 64, 56, jitter=12, radius=(20, 31), elongation=(1, 1.5), irregularity=0.03,
            dye=(400, 400), pallor=(0, 0),
        )  # fmt: skip
        grain = rng.standard_normal((GRAIN, GRAIN), dtype=np.float32)
        self.grain = np.rint(grain * 1.3).clip(-4, 4).astype(np.int16)
        for axis in (0, 1) * 3:
            grain = grain + np.roll(grain, 1, axis) + np.roll(grain, 2, axis)
        self.mottle = np.rint(grain / grain.std() * 16).clip(-48, 48).astype(np.int16)
        profile = np.zeros(FIBRES)
        for wide, weight in ((8, 1.0), (4, 0.8), (1, 0.4)):
            profile += weight * np.repeat(rng.normal(0, 1, FIBRES // wide), wide)
        strands = sum((np.roll(profile, k) for k in range(1, 5)), start=profile)
        self.strands = np.rint(strands / strands.std() * 42).clip(-100, 127).astype(np.int16)

    def slide(self, rng: np.random.Generator) -> Slide:
        """Draw the properties of a slide: its stains, their strengths, its illumination and its tissue composition."""
        brown = rng.uniform(0, 1)
        vectors = []
        for standard, extreme in ((HAEMATOXYLIN, BROWN_HAEMATOXYLIN), (EOSIN, SALMON_EOSIN)):
            vector = (1 - brown) * np.array(standard) + brown * np.array(extreme) + rng.normal(0, 0.04, 3)
            vectors.append(np.clip(vector, 0.02, None) / np.linalg.norm(vector))
        strengths = rng.uniform(0.7, 1.5), rng.uniform(0.45, 1.05)  # absorbance at a dye of 255
        white = rng.uniform(225, 252) + rng.normal(0, 2, 3)
        dye = np.arange(256) / 255
        blue, pink = (s * dye[:, None] * v for s, v in zip(strengths, vectors, strict=True))
        colours = np.rint(np.clip(white * 10 ** -(blue[:, None] + pink[None, :]), 0, 255)).astype(np.uint8)
        shares = rng.uniform(0.3, 0.9), rng.uniform(0.01, 0.2), rng.uniform(0.0, 0.12)
        return Slide(colours.reshape(-1, 3).view("V3")[:, 0], *shares)

    def region(self, rng: np.random.Generator, slide: Slide) -> Region:
        """Draw a region of a slide."""
        tissue = upsample(255 * (1 - soft_mask(two_scale_noise(rng, 90, 20), slide.glass, 0.06)))
        holes = np.zeros((REGION, REGION), np.uint8)
        stamp(rng, holes, self.fat, 0.85 * soft_mask(two_scale_noise(rng, 50, 15), slide.fat, 0.4) + 0.006)
        tissue -= np.minimum(tissue, holes)

        tumour = soft_mask(two_scale_noise(rng, 30, 9), TUMOUR_AREA, 0.15)
        lymphoid = soft_mask(two_scale_noise(rng, 40, 12), slide.lymphoid, 0.3) * (1 - tumour)
        stroma = 1 - tumour - lymphoid
        # Germinal centres of lymph follicles: large, loosely packed cells.
        centre = soft_mask(two_scale_noise(rng, 20, 9), 0.35, 0.3)
        thick = np.clip(two_scale_noise(rng, 50, 12), -3, 3)

        # Fibres: contour lines of a tilted plane bent by waves; the dye at each height is a fixed profile of strands.
        angle = rng.uniform(0, np.pi)
        steps = np.arange(COARSE_POINTS, dtype=np.float32) * np.float32(2 * COARSE)
        height = np.float32(np.sin(angle)) * steps[:, None] + np.float32(np.cos(angle)) * steps[None, :]
        height += 160 * two_scale_noise(rng, 40, 12) + 8000  # positive everywhere
        slope_y, slope_x = np.gradient(height)
        direction = np.rint((np.arctan2(slope_x, -slope_y) % np.pi) * (DIRECTIONS / np.pi)).astype(int) % DIRECTIONS

        grain_eosin, grain_blue, mottle, ragged = (
            bank[y : y + REGION, x : x + REGION]
            for bank, (y, x) in zip(
                (self.grain, self.grain, self.mottle, self.mottle), rng.integers(0, GRAIN - REGION, (4, 2)), strict=True
            )
        )
        strands = self.strands.take((upsample(height) + (ragged >> 2)) & (FIBRES - 1))
        eosin = upsample((70 * stroma + 45 * lymphoid + 62 * tumour) * (1 + np.float32(0.25) * thick))
        eosin += (upsample(60 * stroma + 30 * lymphoid + 30 * tumour) * strands) >> 7
        eosin += mottle >> 1
        eosin = (np.clip(eosin, 0, 250) * (tissue >> 1)) >> 7
        blue = upsample(4 * stroma + 30 * lymphoid + 24 * tumour) + (mottle >> 2)
        blue = (np.clip(blue, 0, 250) * (tissue >> 1)) >> 7

        nuclei = np.zeros((REGION, REGION), np.uint8)
        stamp(rng, nuclei, self.fibroblasts, 0.3 * stroma + 0.05 * tumour, tissue, direction)
        stamp(rng, nuclei, self.reactive, 0.08 * stroma + 0.55 * lymphoid * centre, tissue)
        stamp(rng, nuclei, self.lymphocytes, 0.05 * stroma + lymphoid * (0.97 - 0.75 * centre) + 0.05 * tumour, tissue)
        centres = stamp(rng, nuclei, self.tumour, 0.8 * (tumour > 0.5), tissue)

        blue = np.maximum(blue, nuclei) + grain_blue
        eosin += 4 + grain_eosin - (nuclei >> 4)
        dyes = (np.clip(blue, 0, 255) << 8).view(np.uint16) | np.clip(eosin, 0, 255).view(np.uint16)
        image = slide.colours.take(dyes).view(np.uint8).reshape(REGION, REGION, 3)
        return Region(image, tissue, centres)
