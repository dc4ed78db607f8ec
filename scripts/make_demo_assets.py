"""Makes the demo model and the demo clip that ship with the package, from photographs inside scikit-image.

    python scripts/make_demo_assets.py --out hf_ttr/assets [--seed 0] [--quick]

A clip is a still photograph seen by a static camera, with one or two objects of one class moving over it, sensor noise
that is fresh in every frame, a slow drift of the light and, now and then, a hard cut to another shot. The class of a
clip is what moves; background, motion, noise and light are drawn independently of it.

A tiny ViT is trained from scratch on single frames of such clips, composed in memory. It is then judged on clips made
with other random numbers over other regions of the photographs (and over one photograph that training never shows),
each written to an mp4 file and decoded again; the prediction for a clip is the mean of the logits of its frames.

Three things are written below `--out`: `vit-demo/` (model, preprocessor and the figures of the run), `demo.mp4` (one
held-out clip) and `README.md` (the photographs with their licences). What was there before is replaced only once all
three are ready and the accuracy is at least 95 %. Needs the extra `assets`: `pip install '.[assets]'`.
"""

import argparse
import io
import json
import math
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw, ImageFilter
from scipy.interpolate import PchipInterpolator
from transformers import ViTConfig, ViTForImageClassification

from hf_ttr import TemporalReuseVideoProcessor, with_temporal_reuse


LABELS = ("cat", "coffee cup", "space shuttle", "space helmet", "horse", "beach ball", "life ring", "die")
CLIP_SIZE = 256  # pixels, height and width of a clip
MODEL_SIZE = 224  # pixels, height and width of what the model sees
FPS = 25
MIN_FRAMES, MAX_FRAMES = 49, 64
SPRITE_SIZE = 224  # pixels, longest side at which objects are kept
TRAINING_STEPS = 700
REQUIRED_ACCURACY = 0.95
MODEL_DIRECTORY, DEMO_CLIP, README = "vit-demo", "demo.mp4", "README.md"

# The streams of random numbers, so that no number drawn for training comes back in a held-out clip.
TRAINING_STREAM, HELD_OUT_STREAM, DEMO_STREAM = 0, 1, 2

# The demo clip: its class, its background and the number of its random stream, chosen for how the clip looks, and the
# crf of its encoding, low enough for the noise to survive.
DEMO_LABEL, DEMO_BACKGROUND, DEMO_NUMBER = "space shuttle", "rocket", 15
DEMO_QUALITY = 14


@dataclass(frozen=True)
class Photo:
    """A photograph of `skimage.data`, with what its documentation there says about its licence."""

    name: str
    shows: str
    source: str
    licence: str
    used_for: str


PHOTOS = (
    Photo(
        "astronaut",
        "official portrait of an astronaut; only the model of the shuttle and the helmet are used",
        "NASA Great Images database",
        "public domain",
        "`space shuttle`, `space helmet`",
    ),
    Photo("brick", "brick wall", "CC0Textures", "CC0", "background"),
    Photo(
        "camera",
        "photographer in a park; only a part without the person is used",
        "Lav Varshney",
        "CC0",
        "background of held-out clips",
    ),
    Photo("chelsea", "Chelsea the cat", "Stefan van der Walt", "CC0", "`cat`"),
    Photo(
        "coffee",
        "cup of coffee on a wooden table",
        "Rachel Michetti, courtesy of Pikolo Espresso Bar",
        "CC0",
        "`coffee cup`, background",
    ),
    Photo("grass", "grass", "linolafett, DeviantArt", "CC0", "background"),
    Photo("gravel", "gravel", "CC0Textures", "CC0", "background"),
    Photo("horse", "silhouette of a horse", "Andreas Preuss, openclipart", "CC0", "`horse`"),
    Photo("hubble_deep_field", "Hubble eXtreme Deep Field", "NASA, HubbleSite", "public domain", "background"),
    Photo("retina", "fundus of a human eye", "Mikael Häggström, Wikimedia Commons", "CC0", "background"),
    Photo("rocket", "launch pad at dusk", "SpaceX Photos", "public domain", "background"),
)


@dataclass(frozen=True)
class Region:
    """The parts of a photograph that serve as background.

    Boxes are (left, top, right, bottom) in pixels of the photograph; the one for training and the one for held-out
    clips do not overlap, and a photograph without the former is never shown in training. `sides` are the smallest and
    the largest side of the square crop, in the same pixels.
    """

    training: tuple[int, int, int, int] | None
    held_out: tuple[int, int, int, int]
    sides: tuple[int, int]


REGIONS = {
    "brick": Region((0, 0, 300, 512), (304, 0, 512, 512), (130, 200)),
    "camera": Region(None, (300, 60, 512, 512), (170, 210)),
    "coffee": Region((482, 160, 600, 400), (482, 0, 600, 156), (100, 116)),
    "grass": Region((0, 0, 300, 512), (304, 0, 512, 512), (130, 200)),
    "gravel": Region((0, 0, 300, 512), (304, 0, 512, 512), (130, 200)),
    "hubble_deep_field": Region((0, 0, 596, 872), (600, 0, 1000, 872), (200, 390)),
    "retina": Region((220, 300, 796, 1100), (800, 300, 1200, 1100), (250, 390)),
    "rocket": Region((0, 0, 396, 427), (400, 0, 640, 427), (160, 236)),
}

# Outlines of the objects in their photographs: (x, y) in pixels.
CAT_OUTLINE = (
    (42, 4), (62, 2), (88, 22), (128, 34), (172, 24), (215, 20), (262, 20), (304, 28), (330, 20), (362, 4), (392, 2),
    (384, 30), (362, 68), (361, 120), (350, 175), (325, 218), (308, 252), (284, 274), (240, 284), (180, 282),
    (120, 258), (76, 214), (46, 160), (34, 110), (36, 52),
)  # fmt: skip
SHUTTLE_OUTLINE = (
    (411, 1), (421, 1), (431, 16), (436, 40), (440, 43), (445, 40), (452, 56), (454, 80), (454, 230), (453, 252),
    (458, 262), (446, 270), (430, 268), (416, 262), (412, 252), (404, 268), (392, 266), (388, 246), (372, 268),
    (367, 268), (380, 230), (355, 223), (355, 214), (362, 200), (378, 184), (379, 120), (384, 84), (383, 60),
    (386, 43), (390, 43), (396, 52), (398, 22), (404, 8),
)  # fmt: skip
HELMET_OUTLINE = (
    (360, 350), (395, 343), (430, 346), (460, 360), (482, 386), (494, 430), (499, 465), (498, 492), (480, 509),
    (300, 510), (282, 498), (277, 476), (283, 440), (298, 404), (326, 372),
)  # fmt: skip


def cut_out(photo: Image.Image, mask: Image.Image) -> Image.Image:
    """Cuts an object out of a photograph with a soft edge.

    Args:
        photo: The photograph, RGB.
        mask: 255 inside the object and 0 outside, L, of the size of the photograph.

    Returns:
        The object, RGBA, with a transparent margin and a longest side of `SPRITE_SIZE` pixels.
    """
    sprite = photo.convert("RGBA")
    sprite.putalpha(mask.filter(ImageFilter.GaussianBlur(1.5)))
    left, top, right, bottom = mask.getbbox() or (0, 0, *mask.size)
    sprite = sprite.crop((left - 4, top - 4, right + 4, bottom + 4))
    factor = SPRITE_SIZE / max(sprite.size)
    return sprite.resize((round(sprite.width * factor), round(sprite.height * factor)), Image.Resampling.BICUBIC)


def polygon_mask(size: tuple[int, int], outline: tuple[tuple[int, int], ...]) -> Image.Image:
    """Returns an L image of `size` (width, height) that is 255 inside the polygon through the `outline` pixels."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    return mask


def coffee_cup_mask(size: tuple[int, int]) -> Image.Image:
    """Returns an L image of `size` (width, height) that is 255 on the cup and the saucer of the photograph."""
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    draw.ellipse((77, 62, 479, 390), fill=255)
    draw.ellipse((173, 18, 408, 210), fill=255)
    return mask


def draw_horse(silhouette: np.ndarray) -> Image.Image:
    """Fills the silhouette, (height, width) bool with True outside the horse, with a chestnut coat lit from above."""
    height, width = silhouette.shape
    light = np.linspace(1.15, 0.6, height)[:, None, None] * np.linspace(0.9, 1.1, width)[None, :, None]
    coat = np.clip(np.array((138, 78, 38)) * light, 0, 255).astype(np.uint8)
    return cut_out(Image.fromarray(coat), Image.fromarray(np.where(silhouette, 0, 255).astype(np.uint8)))


def disc_coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns x and y of each pixel of a square canvas, both 0 in the middle and 1 close to the edge, (size, size)."""
    y, x = np.mgrid[0:size, 0:size] * 2.1 / (size - 1) - 1.05
    return x, y


def sector(x: np.ndarray, y: np.ndarray, sectors: int) -> np.ndarray:
    """Returns in which of equal sectors around (0, 0) each point lies, from 0, in the shape of `x`, int64."""
    return np.floor(np.arctan2(y, x) / (2 * np.pi) * sectors).astype(int) % sectors


def draw_beach_ball(size: int = 384) -> Image.Image:
    """Draws a ball with six coloured segments around an off-centre pole, shaded like a sphere, on `size` pixels."""
    x, y = disc_coordinates(size)
    white = (245, 245, 245)
    colours = np.array(((235, 40, 40), white, (250, 205, 30), white, (30, 90, 220), white))
    ball = colours[sector(x + 0.3, y + 0.35, 6)].astype(float)
    ball[np.hypot(x + 0.3, y + 0.35) < 0.16] = white
    ball *= (1.05 - 0.25 * np.hypot(x + 0.25, y + 0.3) ** 2)[..., None]
    mask = Image.fromarray(np.where(np.hypot(x, y) < 1, 255, 0).astype(np.uint8))
    return cut_out(Image.fromarray(np.clip(ball, 0, 255).astype(np.uint8)), mask)


def draw_life_ring(size: int = 384) -> Image.Image:
    """Draws a ring with four red and four white bands, shaded like a torus, on `size` pixels."""
    x, y = disc_coordinates(size)
    radius = np.hypot(x, y)
    ring = np.where(sector(x, y, 8)[..., None] % 2 == 0, (215, 35, 30), (240, 238, 230)).astype(float)
    ring *= (1.05 - 0.45 * (np.abs(radius - 0.74) / 0.26) ** 2)[..., None]
    mask = Image.fromarray(np.where((radius < 1) & (radius > 0.48), 255, 0).astype(np.uint8))
    return cut_out(Image.fromarray(np.clip(ring, 0, 255).astype(np.uint8)), mask)


def draw_die(size: int = 384) -> Image.Image:
    """Draws the five of an ivory die with rounded corners on `size` pixels."""
    light = np.add.outer(np.linspace(8, -18, size), np.linspace(8, -18, size))[..., None]
    face = Image.fromarray(np.clip(np.array((236, 232, 215)) + light, 0, 255).astype(np.uint8))
    pips = ImageDraw.Draw(face)
    for x, y in ((0.28, 0.28), (0.72, 0.28), (0.5, 0.5), (0.28, 0.72), (0.72, 0.72)):
        pips.circle((x * size, y * size), 0.095 * size, fill=(25, 25, 35))
    mask = Image.new("L", face.size)
    ImageDraw.Draw(mask).rounded_rectangle((8, 8, size - 8, size - 8), radius=size // 6, fill=255)
    return cut_out(face, mask)


def load_photo(name: str) -> Image.Image:
    """Returns a photograph of `skimage.data` as an RGB image."""
    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def make_sprites() -> dict[str, Image.Image]:
    """Returns the object of each label, RGBA, with a longest side of `SPRITE_SIZE` pixels."""
    astronaut, chelsea, coffee = (load_photo(name) for name in ("astronaut", "chelsea", "coffee"))
    return {
        "cat": cut_out(chelsea, polygon_mask(chelsea.size, CAT_OUTLINE)),
        "coffee cup": cut_out(coffee, coffee_cup_mask(coffee.size)),
        "space shuttle": cut_out(astronaut, polygon_mask(astronaut.size, SHUTTLE_OUTLINE)),
        "space helmet": cut_out(astronaut, polygon_mask(astronaut.size, HELMET_OUTLINE)),
        "horse": draw_horse(skimage.data.horse()),
        "beach ball": draw_beach_ball(),
        "life ring": draw_life_ring(),
        "die": draw_die(),
    }


@dataclass(frozen=True)
class Shot:
    """What the camera sees between two cuts.

    Attributes:
        background: The still background, RGB, `CLIP_SIZE` pixels square.
        sprites: The moving objects, RGBA.
        paths: The centre (x, y) of each object in each frame of the clip, in pixels, (objects, frames, 2) float64.
    """

    background: Image.Image
    sprites: list[Image.Image]
    paths: np.ndarray


@dataclass(frozen=True)
class Scene:
    """A clip before it is rendered.

    Attributes:
        label: The index in `LABELS` of what moves.
        shots: The shots, in order.
        cuts: The first frame of every shot but the first.
        gains: The brightness of each frame, 1 on average, (frames,) float64.
        noise: The standard deviation of the sensor noise, in grey levels of 255.
    """

    label: int
    shots: list[Shot]
    cuts: list[int]
    gains: np.ndarray
    noise: float

    def shot_at(self, frame: int) -> Shot:
        """Returns the shot to which a frame belongs."""
        return self.shots[sum(frame >= cut for cut in self.cuts)]

    def visibility(self, frame: int) -> float:
        """Returns how much of the most visible object is inside the frame, from 0 to 1, going by bounding boxes."""
        shot = self.shot_at(frame)
        shares = []
        for sprite, (x, y) in zip(shot.sprites, shot.paths[:, frame]):
            inside = 1.0
            for centre, side in ((x, sprite.width), (y, sprite.height)):
                inside *= max(0.0, min(centre + side / 2, CLIP_SIZE) - max(centre - side / 2, 0)) / side
            shares.append(inside)
        return max(shares)


class Studio:
    """Makes scenes from the photographs.

    Args:
        held_out: Whether backgrounds come from the regions kept for held-out clips or from those for training.
    """

    def __init__(self, held_out: bool) -> None:
        self.held_out = held_out
        self.sprites = make_sprites()
        self.backgrounds = {}
        for name, region in REGIONS.items():
            box = region.held_out if held_out else region.training
            if box is not None:
                self.backgrounds[name] = load_photo(name).crop(box)

    def background(self, rng: np.random.Generator, name: str | None = None) -> Image.Image:
        """Returns a random crop of a photograph, RGB, `CLIP_SIZE` pixels square; of any photograph without `name`.

        Training also gets smooth clouds of colour, lest the few photographs are learnt by heart.
        """
        if name is None and not self.held_out and rng.random() < 0.25:
            return cloud_background(rng)
        name = name or str(rng.choice(list(self.backgrounds)))
        photo = self.backgrounds[name]
        smallest, largest = REGIONS[name].sides
        side = int(rng.integers(smallest, largest + 1))
        left = int(rng.integers(photo.width - side + 1))
        top = int(rng.integers(photo.height - side + 1))
        box = (left, top, left + side, top + side)
        crop = photo.resize((CLIP_SIZE, CLIP_SIZE), Image.Resampling.BICUBIC, box=box)
        if rng.random() < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return tinted(crop, rng.uniform(0.7, 1.2) * rng.uniform(0.85, 1.15, 3))

    def sprite(self, rng: np.random.Generator, label: int) -> Image.Image:
        """Returns the object of a label at a random size, angle, brightness and side, RGBA."""
        sprite = self.sprites[LABELS[label]]
        if rng.random() < 0.5:
            sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        factor = rng.uniform(76, 124) / math.sqrt(sprite.width * sprite.height)
        sprite = sprite.resize(
            (round(sprite.width * factor), round(sprite.height * factor)), Image.Resampling.BILINEAR
        )
        sprite = sprite.rotate(rng.uniform(-25, 25), Image.Resampling.BICUBIC, expand=True)
        return tinted(sprite, rng.uniform(0.75, 1.15) * rng.uniform(0.94, 1.06, 3))

    def shot(self, rng: np.random.Generator, label: int, frames: int, background: str | None = None) -> Shot:
        """Returns a shot with one object, or sometimes two, of a label; `frames` is the length of the whole clip."""
        sprites = [self.sprite(rng, label) for _ in range(1 + (rng.random() < 0.2))]
        paths = np.stack([random_path(rng, frames, max(sprite.size)) for sprite in sprites])
        return Shot(self.background(rng, background), sprites, paths)

    def scene(self, rng: np.random.Generator, label: int) -> Scene:
        """Returns a scene of `MIN_FRAMES` to `MAX_FRAMES` frames in which something of a label moves."""
        frames = int(rng.integers(MIN_FRAMES, MAX_FRAMES + 1))
        cuts = [int(rng.integers(frames // 4, 3 * frames // 4))] if rng.random() < 0.15 else []
        shots = [self.shot(rng, label, frames) for _ in range(1 + len(cuts))]
        return Scene(label, shots, cuts, light_drift(rng, frames, 0.06), rng.uniform(0.5, 4.0))

    def demo_scene(self) -> Scene:
        """Returns the scene of the demo clip: `MAX_FRAMES` frames, no cut, one object, mild noise."""
        rng = np.random.default_rng((DEMO_STREAM, DEMO_NUMBER))
        label = LABELS.index(DEMO_LABEL)
        sprite = self.sprite(rng, label)
        path = random_path(rng, MAX_FRAMES, max(sprite.size))
        shot = Shot(self.background(rng, DEMO_BACKGROUND), [sprite], path[None])
        return Scene(label, [shot], [], light_drift(rng, MAX_FRAMES, 0.02), noise=2.0)


def at_rest(scene: Scene) -> Scene:
    """Returns the scene without its cuts and motions: objects stay where most of one is in the picture."""
    frames = len(scene.gains)
    first = replace(scene, shots=scene.shots[:1], cuts=[])
    best = max(range(frames), key=first.visibility)
    paths = scene.shots[0].paths[:, best : best + 1].repeat(frames, axis=1)
    return replace(first, shots=[replace(scene.shots[0], paths=paths)])


def tinted(image: Image.Image, gains: np.ndarray) -> Image.Image:
    """Multiplies the red, green and blue channel of an image by `gains`, (3,); a fourth channel stays as it is."""
    tables = [np.clip(np.arange(256) * gain, 0, 255).astype(int).tolist() for gain in gains]
    if image.mode == "RGBA":
        tables.append(list(range(256)))
    return image.point([value for table in tables for value in table])


def cloud_background(rng: np.random.Generator) -> Image.Image:
    """Returns smooth random colours, coarse to fine, RGB, `CLIP_SIZE` pixels square."""
    cells = int(2 ** rng.uniform(1, 6.5))
    colours = rng.uniform(20, 235, 3) + rng.normal(0, rng.uniform(10, 60), (cells, cells, 3))
    clouds = Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))
    return clouds.resize((CLIP_SIZE, CLIP_SIZE), Image.Resampling.BICUBIC)


def random_path(rng: np.random.Generator, frames: int, side: int) -> np.ndarray:
    """Returns a smooth way through the picture, on which an object may enter, pause and leave.

    Args:
        rng: The source of randomness.
        frames: The number of frames.
        side: The longest side of the object in pixels, which places the points outside of the picture.

    Returns:
        The centre (x, y) of the object in each frame, in pixels, (frames, 2) float64.
    """
    points = list(rng.uniform(0.22 * CLIP_SIZE, 0.78 * CLIP_SIZE, (int(rng.integers(2, 5)), 2)))
    if rng.random() < 0.3:
        pause = int(rng.integers(len(points)))
        points.insert(pause, points[pause])
    if rng.random() < 0.3:
        points.insert(0, outside_point(rng, side))
    if rng.random() < 0.3:
        points.append(outside_point(rng, side))
    return PchipInterpolator(np.linspace(0, frames - 1, len(points)), np.stack(points))(np.arange(frames))


def outside_point(rng: np.random.Generator, side: int) -> np.ndarray:
    """Returns a point (x, y) from which an object of `side` pixels is just out of the picture."""
    along, away = rng.uniform(0.2, 0.8) * CLIP_SIZE, 0.55 * side
    points = ((along, -away), (along, CLIP_SIZE + away), (-away, along), (CLIP_SIZE + away, along))
    return np.array(points[int(rng.integers(4))])


def light_drift(rng: np.random.Generator, frames: int, strength: float) -> np.ndarray:
    """Returns the brightness of each frame, a slow wave around 1 of at most `strength`, (frames,) float64."""
    phase, cycles = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.8)
    return 1 + rng.uniform(0, strength) * np.sin(phase + 2 * np.pi * cycles * np.arange(frames) / frames)


def render_frame(scene: Scene, frame: int, rng: np.random.Generator) -> np.ndarray:
    """Renders one frame of a scene, with noise from `rng`: (CLIP_SIZE, CLIP_SIZE, 3) uint8, RGB."""
    shot = scene.shot_at(frame)
    picture = shot.background.copy()
    for sprite, centre in zip(shot.sprites, shot.paths[:, frame]):
        corner = centre - np.array(sprite.size) / 2
        left, top = (int(value) for value in np.floor(corner))
        size = (sprite.width + 1, sprite.height + 1)
        shift = (1, 0, left - corner[0], 0, 1, top - corner[1])
        moved = sprite.transform(size, Image.Transform.AFFINE, shift, Image.Resampling.BILINEAR)
        picture.paste(moved, (left, top), moved)
    pixels = np.asarray(picture, dtype=np.float32) * np.float32(scene.gains[frame])
    pixels += rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(scene.noise)
    return np.clip(pixels + 0.5, 0, 255).astype(np.uint8)


def render_clip(scene: Scene, rng: np.random.Generator) -> list[np.ndarray]:
    """Renders all frames of a scene; see `render_frame`."""
    return [render_frame(scene, frame, rng) for frame in range(len(scene.gains))]


def write_clip(path: Path, frames: list[np.ndarray], quality: int) -> None:
    """Encodes frames, (height, width, 3) uint8 RGB, to h264 in mp4 at `FPS`; less `quality` (x264's crf) is better."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": str(quality)})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def read_clip(path: Path) -> list[np.ndarray]:
    """Decodes all frames of a clip, (height, width, 3) uint8 RGB each."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def to_pixel_values(frames: list[np.ndarray], side: int = MODEL_SIZE) -> torch.Tensor:
    """Prepares frames for the model just as the saved preprocessor does.

    Args:
        frames: The frames, (height, width, 3) uint8 RGB each.
        side: Height and width of what the model sees, in pixels.

    Returns:
        Pixel values in [-1, 1], (frames, 3, side, side) float32.
    """
    size = (side, side)
    resized = [np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)) for frame in frames]
    pixels = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).contiguous()
    return pixels.float() / 127.5 - 1


def make_model() -> ViTForImageClassification:
    """Returns the tiny ViT with random weights."""
    config = ViTConfig(
        image_size=MODEL_SIZE,
        patch_size=16,
        hidden_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=512,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    return ViTForImageClassification(config)


def training_batch(
    studio: Studio, rng: np.random.Generator, size: int, side: int = MODEL_SIZE, frames_of_scene: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Composes a batch of frames.

    Labels are smoothed a little, and the less of an object a frame shows, the more evenly its target is spread.

    Args:
        studio: Where scenes come from.
        rng: The source of randomness.
        size: The number of frames.
        side: Height and width of what the model sees, in pixels.
        frames_of_scene: How many frames of each scene are taken; one is best, and takes longest.

    Returns:
        Pixel values, (size, 3, side, side) float32, and target probabilities, (size, labels) float32.
    """
    frames, targets = [], torch.full((size, len(LABELS)), 1 / len(LABELS))
    for number, target in enumerate(targets):
        if number % frames_of_scene == 0:
            label = int(rng.integers(len(LABELS)))
            scene = studio.scene(rng, label)
        frame = int(rng.integers(len(scene.gains)))
        picture = render_frame(scene, frame, rng)
        frames.append(compressed(picture, int(rng.integers(40, 95))) if rng.random() < 0.5 else picture)
        certainty = 0.95 * min(1.0, max(0.0, scene.visibility(frame) - 0.1) / 0.3)
        target *= 1 - certainty
        target[label] += certainty
    return to_pixel_values(frames, side), targets


def compressed(frame: np.ndarray, quality: int) -> np.ndarray:
    """Returns a frame, (height, width, 3) uint8 RGB, after jpeg compression of a quality from 1 to 95."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file))


def rate(step: int, steps: int) -> float:
    """Returns the factor of the learning rate in a step: linear warm-up, then a cosine down to zero."""
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (step - warm_up) / (steps - warm_up))


def train(model: ViTForImageClassification, seed: int, steps: int, batch_size: int) -> None:
    """Trains the model in place: AdamW in bfloat16 autocast, linear warm-up, then a cosine down to zero."""
    studio = Studio(held_out=False)
    rng = np.random.default_rng((TRAINING_STREAM, seed))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps))
    model.train()
    for step in range(steps):
        pixel_values, targets = training_batch(studio, rng, batch_size)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(pixel_values).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    model.eval()


@torch.inference_mode()
def clip_probabilities(model: ViTForImageClassification, frames: list[np.ndarray]) -> torch.Tensor:
    """Returns the softmax of the mean of the logits of all frames, (labels,) float32."""
    return model(to_pixel_values(frames)).logits.mean(dim=0).softmax(dim=-1)


def evaluate(model: ViTForImageClassification, seed: int, clips: int, directory: Path) -> dict[str, Any]:
    """Judges the model on held-out clips, as many of one label as of another, each encoded and decoded again.

    Args:
        model: The trained model.
        seed: The seed of the run.
        clips: The number of clips.
        directory: Where the mp4 file of the clip in hand is kept.

    Returns:
        Accuracy over all clips and per label, and the mean probability of the true label.
    """
    studio = Studio(held_out=True)
    path = directory / "held-out.mp4"
    hits = np.zeros(len(LABELS), dtype=int)
    totals = np.zeros(len(LABELS), dtype=int)
    probabilities = []
    for number in range(clips):
        label = number % len(LABELS)
        rng = np.random.default_rng((HELD_OUT_STREAM, seed, number))
        write_clip(path, render_clip(studio.scene(rng, label), rng), quality=int(rng.integers(18, 29)))
        predicted = clip_probabilities(model, read_clip(path))
        hits[label] += predicted.argmax().item() == label
        totals[label] += 1
        probabilities.append(predicted[label].item())
    path.unlink()
    return {
        "held_out_clips": clips,
        "held_out_accuracy": round(float(hits.sum() / totals.sum()), 4),
        "held_out_accuracy_per_label": {
            name: round(float(hit / total), 4) for name, hit, total in zip(LABELS, hits, totals) if total
        },
        "mean_probability_of_true_label": round(float(np.mean(probabilities)), 4),
    }


def save_model(model: ViTForImageClassification, directory: Path) -> None:
    """Saves the model, in float32 and with reuse at its default settings, and its processors."""
    reuse = with_temporal_reuse(model.float())
    reuse.config.num_frames = MAX_FRAMES
    reuse.save_pretrained(directory)
    processor = TemporalReuseVideoProcessor(
        num_frames=MAX_FRAMES,
        frame_sampling_rate=1,
        size={"height": MODEL_SIZE, "width": MODEL_SIZE},
        resample=Image.Resampling.BILINEAR,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    processor.save_pretrained(directory)


def readme_text(seed: int) -> str:
    """Returns the text that goes beside the assets: what they are and where the photographs come from."""
    rows = "\n".join(
        f"| `{photo.name}` | {photo.shows} | {photo.source} | {photo.licence} | {photo.used_for} |" for photo in PHOTOS
    )
    return f"""# Demo assets

Made by `scripts/make_demo_assets.py --seed {seed}`; run it again to make them anew.

- `{MODEL_DIRECTORY}/`: a tiny ViT, trained from scratch on composed frames. It tells what moves in a clip:
  {", ".join(LABELS)}.
  `training.json` holds the figures of the run.
- `{DEMO_CLIP}`: a clip that was not used for training, {MAX_FRAMES} frames of {CLIP_SIZE}x{CLIP_SIZE} pixels at
  {FPS} frames per second. It shows: {DEMO_LABEL}.

The model knows these few cut-outs and drawings and nothing else. It is there to try the package out.

`videomae-demo/` and `motion-demo.mp4`, of the same photographs, are made by `scripts/make_motion_assets.py`; see
`videomae-demo/README.md`.

## Photographs

All photographs ship with [scikit-image](https://scikit-image.org), in `skimage.data`. Sources and licences are as its
documentation states them. The objects of the other labels are drawn by the script.

| Photograph | Shows | Source | Licence | Used for |
| --- | --- | --- | --- | --- |
{rows}
"""


def replace_assets(new: Path, out: Path, names: tuple[str, ...]) -> None:
    """Moves the finished assets from the directory `new` to `out`, in the place of those of an earlier run."""
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        target = out / name
        if target.is_dir():
            shutil.rmtree(target)
        (new / name).replace(target)


def make_assets(directory: Path, seed: int, quick: bool) -> tuple[float, bool]:
    """Makes all assets in an empty directory.

    Args:
        directory: Where the assets go.
        seed: The seed of the run.
        quick: Whether to take very few steps and clips, to try the script out.

    Returns:
        The accuracy on the held-out clips, and whether the model is right about the demo clip.
    """
    steps, batch_size, clips = (2, 4, 4) if quick else (TRAINING_STEPS, 64, 240)
    torch.manual_seed(seed)
    model = make_model()
    start = time.perf_counter()
    train(model, seed, steps, batch_size)
    seconds = time.perf_counter() - start
    figures = evaluate(model, seed, clips, directory)

    scene = Studio(held_out=True).demo_scene()
    demo_clip = directory / DEMO_CLIP
    write_clip(demo_clip, render_clip(scene, np.random.default_rng((DEMO_STREAM, DEMO_NUMBER, 1))), DEMO_QUALITY)
    demo_probabilities = clip_probabilities(model, read_clip(demo_clip))
    figures |= {
        "demo_label": DEMO_LABEL,
        "demo_probability": round(demo_probabilities[scene.label].item(), 4),
        "seed": seed,
        "steps": steps,
        "batch_size": batch_size,
        "training_seconds": round(seconds),
    }
    save_model(model, directory / MODEL_DIRECTORY)
    (directory / MODEL_DIRECTORY / "training.json").write_text(json.dumps(figures, indent=2) + "\n")
    (directory / README).write_text(readme_text(seed), encoding="utf-8")
    print(json.dumps(figures, indent=2))
    return figures["held_out_accuracy"], demo_probabilities.argmax().item() == scene.label


def main() -> None:
    """Reads the command line, makes the assets and puts them in place if they are good enough."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="directory for the assets")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights, the training and the held-out clips")
    parser.add_argument("--quick", action="store_true", help="a few steps and clips, whatever the accuracy")
    arguments = parser.parse_args()

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.out.parent) as directory:
        accuracy, demo_is_right = make_assets(Path(directory), arguments.seed, arguments.quick)
        if not arguments.quick and accuracy < REQUIRED_ACCURACY:
            sys.exit(
                f"The held-out accuracy is {accuracy:.3f}, below {REQUIRED_ACCURACY}: the assets stay as they were."
            )
        if not arguments.quick and not demo_is_right:
            sys.exit("The model is wrong about the demo clip: the assets stay as they were.")
        replace_assets(Path(directory), arguments.out, (MODEL_DIRECTORY, DEMO_CLIP, README))


if __name__ == "__main__":
    main()
