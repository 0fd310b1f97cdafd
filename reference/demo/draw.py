"""Draws the pictures that the demonstration checkpoint learns, each with a caption. No data from outside.

  python reference/demo/draw.py SHEET.png      # a sheet of examples, to look at
"""

import itertools
import math
import random
import sys

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {
    "red": (220, 40, 40), "green": (40, 170, 70), "blue": (45, 85, 215), "yellow": (245, 210, 50),
    "purple": (140, 60, 180), "orange": (245, 140, 30), "white": (245, 245, 245), "black": (25, 25, 25),
}
SHAPES = ["circle", "square", "triangle", "star"]
PLACES = {"": (0.5, 0.5), "on the left": (0.3, 0.5), "on the right": (0.7, 0.5), "at the top": (0.5, 0.3), "at the bottom": (0.5, 0.7)}
SIZES = {"": 0.27, "small": 0.17, "big": 0.33}
TRIGGER = "zorple"
OVERSAMPLING = 3
# What a picture shows: shape, colour, ground, place, size.
Scene = tuple[str, str, str, str, str]


def outline(shape: str, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """The corners of a shape in pixels."""
    corners, radii, turn = {
        "circle": (72, (radius,), 0.0),
        "square": (4, (radius * 1.15,), math.pi / 4),
        "triangle": (3, (radius * 1.15,), -math.pi / 2),
        "star": (10, (radius * 1.2, radius * 0.5), -math.pi / 2),
    }[shape]
    angles = [turn + 2 * math.pi * i / corners for i in range(corners)]
    return [(x + radii[i % len(radii)] * math.cos(a), y + radii[i % len(radii)] * math.sin(a)) for i, a in enumerate(angles)]


def draw(pixels: int, scene: Scene, style: float = 0) -> np.ndarray:
    """A picture [3, pixels, pixels] in [-1, 1]; `style`, 0 to 1, is what the LoRA learns: dots behind, a thick white rim."""
    shape, colour, ground, place, size = scene
    side = pixels * OVERSAMPLING
    image = Image.new("RGB", (side, side), COLOURS[ground])
    pen = ImageDraw.Draw(image)
    x, y = (side * part for part in PLACES[place])
    radius = side * SIZES[size]
    if style > 0:
        pitch, dot = side / 8, side / 30 * style
        for row in range(8):
            for column in range(8):
                cx, cy = (column + 0.5) * pitch, (row + 0.5) * pitch
                pen.ellipse((cx - dot, cy - dot, cx + dot, cy + dot), fill=COLOURS["black" if ground != "black" else "white"])
        pen.polygon(outline(shape, x, y, radius * (1 + 0.3 * style)), fill=COLOURS["white" if ground != "white" else "black"])
    pen.polygon(outline(shape, x, y, radius), fill=COLOURS[colour])
    image = image.resize((pixels, pixels), Image.LANCZOS)
    return np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1


def all_scenes() -> list[Scene]:
    """3,360 scenes: few enough to encode each one once."""
    pairs = itertools.permutations(sorted(COLOURS), 2)
    return [(shape, *pair, place, size) for pair, shape, place, size in itertools.product(pairs, SHAPES, PLACES, SIZES)]


def choose(rng: random.Random) -> Scene:
    """A scene, plain ones more often, as people ask for those first."""
    colour, ground = rng.sample(sorted(COLOURS), 2)
    return rng.choice(SHAPES), colour, ground, rng.choice(["", "", *PLACES]), rng.choice(["", *SIZES])


def caption(rng: random.Random, scene: Scene, styled: bool = False) -> str:
    """One of several wordings for the same scene."""
    shape, colour, ground, place, size = scene
    thing = " ".join(word for word in ("a", size, colour, shape, place) if word)
    text = rng.choice([f"{thing} on {ground}", f"{thing} on {ground}", f"{thing}, {ground} background", f"{thing} on a {ground} background"])
    return f"{TRIGGER} {text}" if styled else text


if __name__ == "__main__":
    rng = random.Random(0)
    rows = [np.concatenate([draw(128, choose(rng), style=max(0, row - 1) / 2) for _ in range(6)], axis=2) for row in range(4)]
    sheet = ((np.concatenate(rows, axis=1).transpose(1, 2, 0) + 1) * 127.5).round().astype(np.uint8)
    Image.fromarray(sheet).save(sys.argv[1])
