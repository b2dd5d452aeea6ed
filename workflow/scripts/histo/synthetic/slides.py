"""Made H&E slides: regions of tissue drawn pixel by pixel, with the place of every tumour nucleus known.

A region is two maps of dye, haematoxylin (nuclei) and eosin (fibres, cytoplasm), mixed into colours by the law of
Beer and Lambert: light = white * 10 ** -(h * H + e * E), around the absorbance vectors H and E of Ruifrok & Johnston,
Anal. Quant. Cytol. Histol. 2001, 23:291-299, turned for each slide as stains differ between laboratories.

Speed decides the form. Maps are small integers, tissue is laid out at a quarter of the resolution and stretched, and
nuclei come from a bank of drawn ones: those of one kind stand on a jittered lattice, whose points fall into four
classes so far apart that the boxes of one class never meet, so that a class is one gather and one copy however many
nuclei it has.
"""

from dataclasses import dataclass

import numpy as np

REGION = 1152  # pixels: side of a region
COARSE = 4  # pixels per step of the coarse maps on which tissue is laid out
SIDE = REGION // COARSE + 1  # points of a coarse map, both ends included
GRAIN = 2048  # pixels: side of the noise from which each region takes its own cut
DIRECTIONS = 16  # directions in which long nuclei are drawn
FIBRES = 8192  # steps of half a pixel before the walk across the fibres repeats

TUMOUR_AREA = 0.36  # share of a region
HAEMATOXYLIN = (0.650, 0.704, 0.286)  # absorbance of red, green, blue: Ruifrok & Johnston 2001
EOSIN = (0.072, 0.990, 0.105)
BROWN_HAEMATOXYLIN = (0.52, 0.66, 0.54)  # the other end: laboratories where nuclei look brown and fibres salmon
SALMON_EOSIN = (0.22, 0.80, 0.56)


@dataclass(frozen=True)
class Nuclei:
    """Drawn bodies of one kind: boxes of dye around a lattice point, each body a little off it.

    boxes: uint8 [N, 2 * pitch, 2 * pitch], 0 = nothing there; box 0 is empty.
    centres: int16 [N, 2], y and x of the body in its box.
    """

    pitch: int
    boxes: np.ndarray
    centres: np.ndarray


@dataclass(frozen=True)
class Slide:
    """What all regions of one slide share.

    colours: three bytes [65536], red, green and blue at haematoxylin * 256 + eosin.
    lymphoid, fat, edge: share of the area that is lymphoid, that is fat, that lies off the tissue.
    """

    colours: np.ndarray
    lymphoid: float
    fat: float
    edge: float


@dataclass(frozen=True)
class Region:
    """A drawn piece of a slide.

    image: uint8 [REGION, REGION, 3], RGB.
    tissue: int16 [REGION, REGION], 255 in tissue, 0 in white.
    tumour: int [N, 2], y and x of the centre of each tumour nucleus.
    """

    image: np.ndarray
    tissue: np.ndarray
    tumour: np.ndarray


def draw_nuclei(
    rng: np.random.Generator,
    count: int,
    pitch: int,
    *,
    jitter: float,
    radius: tuple[float, float],
    longer: tuple[float, float],
    lumpy: float,
    dark: tuple[float, float],
    pale: tuple[float, float],
    nucleoli: int = 0,
    angles: np.ndarray | None = None,
) -> Nuclei:
    """Draw a bank of bodies of one kind.

    jitter, radius: pixels; longer: long over short axis; lumpy: standard deviation of the outline's waves, relative
    to the radius; dark: dye at the rim, 0 to 255; pale: how much lighter the inside is than the rim, 0 to 1;
    angles: radians, direction of the long axis of each; random where None.
    """

    def each(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)

    pixels = np.arange(2 * pitch, dtype=np.float32)
    centre = rng.uniform(pitch - jitter, pitch + jitter, (2, count, 1, 1)).astype(np.float32)
    dy, dx = pixels[None, :, None] - centre[0], pixels[None, None, :] - centre[1]
    angle = each(0, np.pi) if angles is None else angles[:, None, None].astype(np.float32)
    axis = np.sqrt(each(*longer))
    along = (dx * np.cos(angle) + dy * np.sin(angle)) / axis
    across = (dy * np.cos(angle) - dx * np.sin(angle)) * axis
    distance = np.hypot(along, across) + np.float32(1e-6)
    direction = (along + np.complex64(1j) * across) / distance
    outline = np.ones_like(distance)
    for waves in (2, 3, 5):
        swing = rng.normal(0, lumpy / waves**0.5, (count, 1, 1)) * np.exp(1j * each(0, 2 * np.pi))
        outline += (swing.astype(np.complex64) * direction**waves).real
    inside = each(*radius) * outline - distance  # about the pixels from the outline, positive inside
    chromatin = rng.standard_normal(distance.shape, np.float32)
    for side in (1, 2):
        chromatin = (chromatin + np.roll(chromatin, 1, side)) / np.float32(2**0.5)
    dye = each(*dark) * (1 - each(*pale) * np.clip(inside / 3, 0, 1) + 0.09 * chromatin)
    for _ in range(nucleoli):
        spot = rng.normal(0, 2, (2, count, 1, 1)).astype(np.float32)
        dye += each(0, 90) * np.exp(-((dy - spot[0]) ** 2 + (dx - spot[1]) ** 2) / 2.5)
    boxes = np.rint(np.clip(dye, 1, 255) * np.clip(inside / 1.6 + 0.5, 0, 1)).astype(np.uint8)
    boxes[0] = 0
    return Nuclei(pitch, boxes, np.rint(centre[:, :, 0, 0].T).astype(np.int16))


def smooth(rng: np.random.Generator, scale: float) -> np.ndarray:
    """float32 [SIDE, SIDE] of smooth noise: a cubic B-spline over normal numbers `scale` coarse steps apart."""
    points = int(SIDE / scale) + 5
    field = rng.standard_normal((points, points), dtype=np.float32)
    at = np.arange(SIDE, dtype=np.float32) / np.float32(scale) + rng.random(dtype=np.float32)
    knot = at.astype(int)
    t = (at - knot)[:, None]
    weights = (1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6
    for _ in ("rows", "columns"):
        field = np.ascontiguousarray(sum(weight * field[knot + k] for k, weight in enumerate(weights)).T)
    return field


def landscape(rng: np.random.Generator, scale: float, fine: float) -> np.ndarray:
    """float32 [SIDE, SIDE], standard deviation 1: smooth noise with finer noise on it."""
    field = smooth(rng, scale) + np.float32(0.4) * smooth(rng, fine)
    return field / field.std()


def highest(field: np.ndarray, share: float, ramp: float) -> np.ndarray:
    """float32 like field: 1 where `field` is among its highest `share`, 0 elsewhere, and a soft border `ramp` wide."""
    level = np.quantile(field[::4, ::4], 1 - share)
    return np.clip((field - np.float32(level)) / np.float32(ramp) + np.float32(0.5), 0, 1)


def stretched(coarse: np.ndarray) -> np.ndarray:
    """int16 [REGION, REGION]: a coarse map of values from 0 to 32767, rounded and interpolated between its points.

    Values from 16384 on come out modulo 16384, since sums of four overflow.
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
    canvas: np.ndarray,
    kind: Nuclei,
    density: np.ndarray,
    tissue: np.ndarray | None = None,
    turn: np.ndarray | None = None,
) -> np.ndarray:
    """Stamp bodies of one kind onto `canvas` (uint8 [REGION, REGION]); later ones lie on earlier ones.

    density: [SIDE, SIDE], probability that a lattice point is used; tissue: [REGION, REGION], none is put where it is
    white; turn: int [SIDE, SIDE], direction of a bank drawn in DIRECTIONS. Returns the centres inside, int [N, 2].
    """
    box = 2 * kind.pitch
    across = (REGION + kind.pitch) // box + 1  # boxes side by side
    rows = kind.boxes.reshape(-1).view(f"V{box}")
    centres = []
    for top, left in ((-kind.pitch, -kind.pitch), (-kind.pitch, 0), (0, -kind.pitch), (0, 0)):
        ys, xs = top + box * np.arange(across)[:, None], left + box * np.arange(across)[None, :]
        pick = rng.integers(1, len(kind.boxes), (across, across))
        if turn is not None:
            each = len(kind.boxes) // DIRECTIONS
            middle = (np.clip((corner + kind.pitch) // COARSE, 0, SIDE - 1) for corner in (ys, xs))
            pick = turn[tuple(middle)] * each + pick % each
        y, x = ys + kind.centres[pick, 0], xs + kind.centres[pick, 1]
        near = np.clip(y, 0, REGION - 1), np.clip(x, 0, REGION - 1)
        used = rng.random((across, across), np.float32) < density[near[0] // COARSE, near[1] // COARSE]
        if tissue is not None:
            used &= tissue[near] > 128
        layer = rows.take(np.where(used, pick, 0)[:, None, :] * box + np.arange(box)[:, None])
        layer = layer.view(np.uint8).reshape(across * box, across * box)
        layer = layer[max(-top, 0) :, max(-left, 0) :][:REGION, :REGION]
        part = canvas[: len(layer), : layer.shape[1]]
        part &= (layer > 70).view(np.uint8) - np.uint8(1)  # 0 where the new one covers, 255 elsewhere
        np.maximum(part, layer, out=part)
        used &= (y >= 0) & (y < REGION) & (x >= 0) & (x < REGION)
        centres.append(np.stack([y[used], x[used]], axis=1))
    return np.concatenate(centres)


class Painter:
    """Draws slides and regions; holds what is drawn once for all of them."""

    def __init__(self, rng: np.random.Generator):
        self.lymphocytes = draw_nuclei(
            rng, 2048, 9, jitter=3, radius=(3.4, 4.6), longer=(1, 1.3), lumpy=0.05, dark=(170, 235), pale=(0, 0.4)
        )
        self.reactive = draw_nuclei(  # large cells of healthy lymph nodes: between lymphocytes and tumour in size
            rng, 1024, 12, jitter=4, radius=(4.5, 6.3), longer=(1, 1.6), lumpy=0.07, dark=(120, 200), pale=(0.2, 0.6)
        )
        angles = np.repeat(np.arange(DIRECTIONS) * np.pi / DIRECTIONS, 64)
        self.fibroblasts = draw_nuclei(
            rng, len(angles), 13, jitter=4, radius=(2.4, 3.6), longer=(3, 6), lumpy=0.06, dark=(120, 210),
            pale=(0, 0.3), angles=angles,
        )  # fmt: skip
        self.tumour = draw_nuclei(
            rng, 2048, 14, jitter=4.5, radius=(5.2, 8.2), longer=(1, 1.8), lumpy=0.12, dark=(140, 235), pale=(0.1, 0.6),
            nucleoli=2,
        )  # fmt: skip
        self.fat = draw_nuclei(
            rng, 64, 56, jitter=12, radius=(20, 31), longer=(1, 1.5), lumpy=0.03, dark=(400, 400), pale=(0, 0)
        )
        grain = rng.standard_normal((GRAIN, GRAIN), dtype=np.float32)
        self.grain = np.rint(grain * 1.3).clip(-4, 4).astype(np.int16)
        for axis in (0, 1) * 3:
            grain = grain + np.roll(grain, 1, axis) + np.roll(grain, 2, axis)
        self.mottle = np.rint(grain / grain.std() * 16).clip(-48, 48).astype(np.int16)
        strands = sum(
            weight * np.repeat(rng.normal(0, 1, FIBRES // wide), wide) for wide, weight in ((8, 1), (4, 0.8), (1, 0.4))
        )
        strands = sum(np.roll(strands, k) for k in range(5))
        self.strands = np.rint(strands / strands.std() * 42).clip(-100, 127).astype(np.int16)

    def slide(self, rng: np.random.Generator) -> Slide:
        """A slide with stains, strengths, light and make-up of its own."""
        brown = rng.uniform(0, 1)
        vectors = []
        for here, there in ((HAEMATOXYLIN, BROWN_HAEMATOXYLIN), (EOSIN, SALMON_EOSIN)):
            vector = (1 - brown) * np.array(here) + brown * np.array(there) + rng.normal(0, 0.04, 3)
            vectors.append(np.clip(vector, 0.02, None) / np.linalg.norm(vector))
        strengths = rng.uniform(0.7, 1.5), rng.uniform(0.45, 1.05)  # absorbance where the dye is 255
        white = rng.uniform(225, 252) + rng.normal(0, 2, 3)
        dye = np.arange(256) / 255
        blue, pink = (s * dye[:, None] * v for s, v in zip(strengths, vectors, strict=True))
        colours = np.rint(np.clip(white * 10 ** -(blue[:, None] + pink[None, :]), 0, 255)).astype(np.uint8)
        shares = rng.uniform(0.3, 0.9), rng.uniform(0.01, 0.2), rng.uniform(0.0, 0.12)
        return Slide(colours.reshape(-1, 3).view("V3")[:, 0], *shares)

    def region(self, rng: np.random.Generator, slide: Slide) -> Region:
        """Draw a region of a slide."""
        tissue = stretched(255 * (1 - highest(landscape(rng, 90, 20), slide.edge, 0.06)))
        holes = np.zeros((REGION, REGION), np.uint8)
        stamp(rng, holes, self.fat, 0.85 * highest(landscape(rng, 50, 15), slide.fat, 0.4) + 0.006)
        tissue -= np.minimum(tissue, holes)

        tumour = highest(landscape(rng, 30, 9), TUMOUR_AREA, 0.15)
        lymphoid = highest(landscape(rng, 40, 12), slide.lymphoid, 0.3) * (1 - tumour)
        stroma = 1 - tumour - lymphoid
        centre = highest(landscape(rng, 20, 9), 0.35, 0.3)  # of lymph follicles, where cells are large and loose
        thick = np.clip(landscape(rng, 50, 12), -3, 3)

        # Fibres: height lines of a tilted plane bent by waves; the dye at each height is one walk across strands.
        angle = rng.uniform(0, np.pi)
        steps = np.arange(SIDE, dtype=np.float32) * np.float32(2 * COARSE)
        height = np.float32(np.sin(angle)) * steps[:, None] + np.float32(np.cos(angle)) * steps[None, :]
        height += 160 * landscape(rng, 40, 12) + 8000  # positive everywhere
        slope_y, slope_x = np.gradient(height)
        turn = np.rint((np.arctan2(slope_x, -slope_y) % np.pi) * (DIRECTIONS / np.pi)).astype(int) % DIRECTIONS

        grain_eosin, grain_blue, mottle, ragged = (
            bank[y : y + REGION, x : x + REGION]
            for bank, (y, x) in zip(
                (self.grain, self.grain, self.mottle, self.mottle), rng.integers(0, GRAIN - REGION, (4, 2)), strict=True
            )
        )
        strands = self.strands.take((stretched(height) + (ragged >> 2)) & (FIBRES - 1))
        eosin = stretched((70 * stroma + 45 * lymphoid + 62 * tumour) * (1 + np.float32(0.25) * thick))
        eosin += (stretched(60 * stroma + 30 * lymphoid + 30 * tumour) * strands) >> 7
        eosin += mottle >> 1
        eosin = (np.clip(eosin, 0, 250) * (tissue >> 1)) >> 7
        blue = stretched(4 * stroma + 30 * lymphoid + 24 * tumour) + (mottle >> 2)
        blue = (np.clip(blue, 0, 250) * (tissue >> 1)) >> 7

        nuclei = np.zeros((REGION, REGION), np.uint8)
        stamp(rng, nuclei, self.fibroblasts, 0.3 * stroma + 0.05 * tumour, tissue, turn)
        stamp(rng, nuclei, self.reactive, 0.08 * stroma + 0.55 * lymphoid * centre, tissue)
        stamp(rng, nuclei, self.lymphocytes, 0.05 * stroma + lymphoid * (0.97 - 0.75 * centre) + 0.05 * tumour, tissue)
        centres = stamp(rng, nuclei, self.tumour, 0.8 * (tumour > 0.5), tissue)

        blue = np.maximum(blue, nuclei) + grain_blue
        eosin += 4 + grain_eosin - (nuclei >> 4)
        dyes = (np.clip(blue, 0, 255) << 8).view(np.uint16) | np.clip(eosin, 0, 255).view(np.uint16)
        image = slide.colours.take(dyes).view(np.uint8).reshape(REGION, REGION, 3)
        return Region(image, tissue, centres)
