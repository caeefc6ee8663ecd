"""What people wear and look like: materials of the body's regions, colours, patterns, hair, loose cloth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.types import FloatArray, IntArray
from train.synthetic.bodies import BodyModel
from train.synthetic.render import MATERIALS

SKIN, HAIR, SHIRT, TROUSERS, SHOES, SOCKS, EYES, IRIS, HAT, BAG, THING, SEAT, JACKET = range(13)
FIRST_THING = BAG  # from here to SEAT are no parts of the person
_SKINS = np.array(
    [[255, 224, 200], [240, 200, 170], [224, 172, 130], [198, 134, 90], [141, 85, 54], [92, 56, 38], [72, 47, 35]]
)
_HAIRS = np.array(
    [
        [20, 16, 14],
        [40, 28, 20],
        [70, 45, 28],
        [110, 75, 45],
        [170, 130, 80],
        [200, 175, 130],
        [150, 150, 150],
        [120, 50, 25],
    ]
)


@dataclass(frozen=True)
class Outfit:
    """What somebody wears.

    material: int [V]. offset: float32 [V], metres along the normal. tint: float32 [V, 3]. looks: float32 [14, 16], as
    in `render.Mesh`. skirt: how far a skirt reaches, 1 the knees, 2 the ankles; 0 is none. hair: how long it hangs
    down, metres below the head's middle; 0 is short.
    """

    material: IntArray
    offset: FloatArray
    tint: FloatArray
    looks: FloatArray
    skirt: float
    hair: float


def linear(colour: FloatArray) -> FloatArray:
    """Colours of 0 to 255 as shown, as light: the renderer takes the root of what it shades."""
    return np.asarray((np.asarray(colour, np.float64) / 255) ** 2)


class Wardrobe:
    """The regions of a body at rest, and random outfits for them."""

    def __init__(self, model: BodyModel) -> None:
        names = [model.bone_names[bone] for bone in model.bone_of]
        self.rest = model.rest
        self._is = {
            "arm": _any(names, "upperarm", "lowerarm"),
            "hand": _any(names, "wrist", "finger", "metacarpal"),
            "leg": _any(names, "upperleg", "lowerleg"),
            "foot": _any(names, "foot", "toe"),
            "head": _any(names, "head", "eye", "neck"),
            "eye": _any(names, "eye"),
        }
        joints = dict(
            zip(("shoulder", "elbow", "wrist", "hip", "knee", "ankle"), model.rest_keypoints[5::2], strict=True)
        )
        self._arm = self._along(joints["shoulder"], joints["elbow"], joints["wrist"])
        self._leg = self._along(joints["hip"], joints["knee"], joints["ankle"])
        self._head = model.rest_keypoints[3:5].mean(0)  # between the ears
        self._neck = model.rest_heads[model.bone_names.index("neck01")]
        self._eye = model.rest_keypoints[1]

    def outfit(self, rng: np.random.Generator, layers: int) -> Outfit:
        """Random clothes; layers: number of textures there are."""
        material = np.full(len(self.rest), SHIRT)
        offset = np.zeros(len(self.rest))
        looks = np.zeros((MATERIALS, 14), np.float32)
        looks[:, 9] = -1
        self._clothes(rng, material, offset)
        skirt = float(rng.uniform(0.5, 1.9)) if rng.random() < 0.1 else 0.0
        if skirt:
            material[self._is["leg"] & (material == TROUSERS)] = SKIN if rng.random() < 0.7 else TROUSERS
        for part in (SHIRT, TROUSERS, SHOES, SOCKS, HAT, BAG, THING, SEAT, JACKET):
            looks[part] = _cloth(rng, layers, logo=part == SHIRT)
        if rng.random() < 0.12:
            looks[TROUSERS] = looks[SHIRT]
            looks[TROUSERS, 9] = -1
        skin, hair = self._face(rng, material, looks, layers)
        scalp = self._scalp(rng)
        bald = rng.random() < 0.07
        if not bald:
            material[scalp] = HAIR
            offset[scalp] += (0.006 + rng.uniform(0.0, 0.045) * self._noise(rng, 30))[scalp]
        tint = self._tint(rng, skin, hair)
        tint[material != SKIN] = 1
        length = (
            float(rng.choice([0.12, 0.22, 0.32]) * rng.uniform(0.8, 1.2)) if rng.random() < 0.36 and not bald else 0.0
        )
        return Outfit(material, offset.astype(np.float32), tint.astype(np.float32), looks.T, skirt, length)

    def _clothes(self, rng: np.random.Generator, material: IntArray, offset: FloatArray) -> None:
        """Fill in what covers what, and how far it stands off."""
        z, part = self.rest[:, 2], self._is
        hem, sleeve = rng.uniform(-0.07, 0.07), rng.choice([-0.1, 0.15, 0.5, 0.7, 1.3, 2.0, 2.0, 2.0])
        sleeve += rng.uniform(-0.1, 0.1)
        trouser = rng.choice([0.3, 0.6, 0.95, 1.4, 2.2, 2.2, 2.2, 2.2, 2.2]) + rng.uniform(-0.1, 0.1)
        material[~part["arm"] & (z < hem)] = TROUSERS
        material[part["leg"] & (self._leg > trouser)] = SKIN
        material[part["foot"]] = rng.choice([SHOES, SHOES, SHOES, SHOES, SHOES, SHOES, SKIN, SOCKS])
        if rng.random() < 0.35 and trouser < 1.9:
            material[part["leg"] & (self._leg > rng.uniform(1.3, 1.95)) & (self._leg > trouser)] = SOCKS
        material[part["arm"] & (self._arm > sleeve)] = SKIN
        material[part["hand"]] = SKIN if rng.random() < 0.97 else SHOES
        material[part["head"]] = SKIN
        collar = self.rest - self._neck
        collar[:, 1] *= 0.8
        open_neck = np.linalg.norm(collar, axis=1) < rng.uniform(0.07, 0.13)
        opening = rng.uniform(0.05, 0.12) * (rng.random() < 0.3)
        deep = (
            (np.abs(self.rest[:, 0]) < np.minimum(opening * (z - 0.28) / 0.15, 0.075))
            & (self.rest[:, 1] < -0.02)
            & (z > 0.28)
        )
        material[(material == SHIRT) & (open_neck | deep)] = SKIN
        if rng.random() < 0.2:  # an open jacket over the shirt
            gap = rng.uniform(0.0, 0.08)
            shut = (np.abs(self.rest[:, 0]) > gap) | (self.rest[:, 1] > -0.02)
            material[(material == SHIRT) & shut] = JACKET
            offset[material == JACKET] += 0.012
        loose = rng.gamma(1.8, 0.009, 2)
        for cloth, width in ((SHIRT, loose[0]), (JACKET, loose[0]), (TROUSERS, loose[1])):
            where = material == cloth
            offset[where] += (0.003 + min(width, 0.045) * self._noise(rng, 9))[where]
        offset[(material == SHOES) & part["foot"]] += rng.uniform(0.006, 0.014)

    def _face(
        self, rng: np.random.Generator, material: IntArray, looks: FloatArray, layers: int
    ) -> tuple[FloatArray, FloatArray]:
        """Skin, hair and eyes: their colours, 0 to 255; marks the eyes."""
        tone = rng.choice([0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 6])
        skin = np.clip(_SKINS[tone] * rng.uniform(0.88, 1.06) + rng.normal(0, 5, 3), 10, 255)
        dark = rng.random() < (0.35 if tone < 3 else 0.9)
        hair = np.clip(
            _HAIRS[rng.integers(0, 2) if dark else rng.integers(0, len(_HAIRS))] + rng.normal(0, 6, 3), 5, 255
        )
        if rng.random() < 0.02:
            hair = rng.uniform(0, 255, 3)
        looks[SKIN, :3], looks[HAIR, :3] = linear(skin), linear(hair)
        looks[[SKIN, HAIR], 13] = rng.uniform(0.0, 0.12), rng.uniform(0.0, 0.12)
        looks[HAIR, 6:9] = rng.integers(layers), rng.uniform(0.0, 0.45), rng.uniform(4, 14)
        looks[HAIR, 10] = rng.uniform(0.15, 0.6)
        looks[EYES, :3], looks[IRIS, :3] = 0.65, linear(rng.choice([[30, 20, 15], [70, 45, 25], [70, 100, 120]]))
        eye = self._is["eye"]
        material[eye] = EYES
        side = np.abs(self.rest[:, 0])
        front = self.rest[eye, 1].min()
        centre = (
            side[eye][self.rest[eye, 1] < front + 0.002].mean(),
            self.rest[eye, 2][self.rest[eye, 1] < front + 0.002].mean(),
        )
        near = np.hypot(side - centre[0], self.rest[:, 2] - centre[1]) < 0.0075
        material[eye & near & (self.rest[:, 1] < front + 0.01)] = IRIS
        return skin, hair

    def _scalp(self, rng: np.random.Generator) -> IntArray:
        """Bool [V]: where hair grows, above a random hairline."""
        place = self.rest - self._head
        line = rng.uniform(0.012, 0.03) - np.where(place[:, 1] < 0, rng.uniform(0.62, 0.8), 1.6) * place[:, 1]
        scalp: IntArray = self._is["head"] & ~self._is["eye"] & (place[:, 2] > np.maximum(line, -0.075))
        ears = np.abs(place[:, 0]) > 0.068
        return np.asarray(scalp & ~(ears & (place[:, 2] < 0.035)))

    def _tint(self, rng: np.random.Generator, skin: FloatArray, hair: FloatArray) -> FloatArray:
        """Float [V, 3]: lips, brows, perhaps a beard, and blotches, as factors on the skin's colour."""
        tint = 1 + 0.06 * (self._noise(rng, 30)[:, None] - 0.5) * np.ones(3)
        place = self.rest - self._eye
        side, front = np.abs(self.rest[:, 0]), self.rest[:, 1] < self._head[1] - 0.05
        contrast = linear(hair) / np.maximum(linear(skin), 1e-3)
        brow = (
            front & (np.abs(place[:, 2] - 0.021 + 4 * np.square(side - 0.03)) < 0.004) & (side > 0.01) & (side < 0.055)
        )
        tint[brow] *= (np.minimum(contrast, 1) + rng.uniform(0.2, 1.2)) / 2.2
        lips = front & (np.abs(place[:, 2] + 0.070) < 0.009) & (side < 0.026)
        tint[lips] *= (1.0, *rng.uniform(0.4, 0.8, 2))
        socket = front & (np.abs(place[:, 2]) < 0.016) & (np.abs(side - 0.03) < 0.024)
        tint[socket] *= rng.uniform(0.55, 0.95)
        if rng.random() < 0.2:
            chin = self._is["head"] & (place[:, 2] < -0.045) & (self.rest[:, 1] < self._head[1] - 0.01) & ~lips
            chin &= place[:, 2] > -0.125
            tint[chin] *= np.minimum(contrast, 1) * 0.8 + 0.2
        return np.asarray(tint)

    def _noise(self, rng: np.random.Generator, frequency: float) -> FloatArray:
        """Float [V], 0 to 1: smooth in space; frequency: rad a metre."""
        waves = rng.normal(0, frequency, (4, 3))
        return np.asarray(0.5 + 0.5 * np.sin(self.rest @ waves.T + rng.uniform(0, 6.3, 4)).mean(1))

    def _along(self, start: FloatArray, middle: FloatArray, end: FloatArray) -> FloatArray:
        """Float [V]: how far along a limb of the left side, or its mirror image, 0 start, 1 middle, 2 end."""
        points = self.rest * np.where(self.rest[:, :1] < 0, (-1.0, 1.0, 1.0), 1.0)
        shares = []
        for a, b in ((start, middle), (middle, end)):
            shares.append((points - a) @ (b - a) / ((b - a) @ (b - a)))
        return np.asarray(np.where(shares[1] > 0, 1 + shares[1], np.minimum(shares[0], 1)))


def _any(names: list[str], *starts: str) -> IntArray:
    return np.array([name.startswith(starts) for name in names])


def _cloth(rng: np.random.Generator, layers: int, logo: bool) -> FloatArray:
    """The look of a piece of cloth, float32 [14]."""
    grey = rng.random() < 0.45
    colours = (
        np.repeat(rng.uniform(8, 250, (2, 1)), 3, 1) + rng.normal(0, 10, (2, 3))
        if grey
        else rng.uniform(0, 250, (2, 3))
    )
    colours += rng.uniform(0, 0.75) * (colours.mean(1, keepdims=True) - colours)
    if rng.random() < 0.15:  # jeans
        colours[0] = np.array([50, 75, 110]) * rng.uniform(0.4, 1.5)
    base, second = linear(np.clip(colours, 5, 252))
    striped = rng.random() < 0.15
    printed = rng.random() < 0.12
    strength = rng.uniform(0.6, 1.0) if printed else max(rng.uniform(-0.5, 0.7), 0.0)
    look = (
        rng.integers(layers),
        strength,
        rng.uniform(1.0, 8.0),
        rng.integers(layers) if logo and rng.random() < 0.3 else -1,
    )
    cloth = (
        rng.uniform(0.05, 0.32),
        rng.uniform(4, 30) if striped else 0.0,
        rng.choice([0.0, 0.0, 1.0, 0.5]),
        -1.0 if printed else rng.choice([0.0, 0.0, 0.05]),
    )
    return np.array([*base, *second, *look, *cloth], np.float32)
