"""Makes the tiny VideoMAE whose classes need motion, and a clip for it, from photographs inside scikit-image.

    python scripts/make_motion_assets.py --out hf_ttr/assets [--seed 0] [--quick]

A clip is a still photograph seen by a static camera, one object that moves once and rests before and after, sensor
noise that is fresh in every frame and a slow drift of the light. The class of a clip is how the object moves, and
nothing else: object, background, size, place, noise and light are drawn independently of it. Opposites, such as left
and right, are time reversals of each other: a clip of the one is a clip of the other read backwards, so that only the
order of the frames tells them apart.

A VideoMAE is trained from scratch, on all tokens of every clip, on clips composed in memory at the resolution of the
model. Besides the class of the clip it learns, through a linear layer that is thrown away afterwards, to tell for each
token how much of it the object covers and how that part moves. It is then judged on clips made with other random
numbers over other regions of the photographs, each rendered at 256 pixels, written to an mp4 file and decoded again:
in order, in random order and backwards.

Two things are written below `--out`: `videomae-demo/` (model, preprocessor, the figures of the run and a README) and
`motion-demo.mp4`. What was there before is replaced only once both are ready, the accuracy is at least 95 % and the
model is right about the demo clip. Needs the extra `assets`: `pip install '.[assets]'`.
"""

import argparse
import functools
import json
import math
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from make_demo_assets import (
    CLIP_SIZE,
    FPS,
    PHOTOS,
    REQUIRED_ACCURACY,
    Studio,
    compressed,
    light_drift,
    rate,
    read_clip,
    replace_assets,
    tinted,
    write_clip,
)
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

from hf_ttr import TemporalReuseVideoProcessor, with_temporal_reuse


# Neighbours 2k and 2k + 1 are opposites; the first of the two is drawn, the second is its time reversal.
LABELS = (
    "moves left", "moves right", "moves up", "moves down", "turns clockwise", "turns counter-clockwise", "approaches",
    "recedes", "stays still",
)  # fmt: skip
STILL = len(LABELS) - 1
# The label that a clip has after the picture is mirrored left to right, top to bottom, and along its main diagonal.
MIRRORED_X = np.array((1, 0, 2, 3, 5, 4, 6, 7, 8))
MIRRORED_Y = np.array((0, 1, 3, 2, 5, 4, 6, 7, 8))
TRANSPOSED = np.array((2, 3, 0, 1, 5, 4, 6, 7, 8))
OPPOSITE = np.array((1, 0, 3, 2, 5, 4, 7, 6, 8))

FRAMES = 16  # frames of a clip, and of what the model sees
TUBELET = 2  # frames of a token
PATCH = 16  # pixels, height and width of a token
MODEL_SIZE = 112  # pixels, height and width of what the model sees
SMALLEST_SIDE, LARGEST_SIDE = 55, 85  # of an object, pixels of a clip of `CLIP_SIZE`
MOTION_FRAMES = (6, 16)  # the fewest and the most frames of a motion
# The fastest that an object may go from one frame to the next: pixels, and degrees (the life ring looks the same after
# a quarter of a turn).
FASTEST_MOVE, FASTEST_TURN = 16.0, 20.0
# What counts as one unit of each of the numbers that are learnt per token, see `Motion`.
UNITS = np.array((1.0, 2.0, 2.0, math.radians(6), 0.04), dtype=np.float32)

# Training begins with small clips, which are cheap, and goes on with whole ones. After the steps in which every label
# is as frequent as any other, turns, which are the hardest to see, and rests come up more often.
LABEL_WEIGHTS = np.array((1, 1, 1, 1, 3, 3, 1, 1, 2)) / 14
WINDOW = 4  # tokens, height and width of a small clip
EVEN_STEPS, SMALL_STEPS, STEPS = 600, 1500, 1750
SMALL_BATCH_SIZE, BATCH_SIZE = 64, 16
LEARNING_RATE = 1.5e-3
HELD_OUT_CLIPS = 360
MODEL_DIRECTORY, DEMO_CLIP = "videomae-demo", "motion-demo.mp4"

# The streams of random numbers, so that no number drawn for training comes back in a held-out clip.
TRAINING_STREAM, HELD_OUT_STREAM, DEMO_STREAM = 10, 11, 12

# The demo clip: what it shows in each run of `FRAMES` frames, its object, its background and the number of its random
# stream, chosen for how the clip looks, and the crf of its encoding.
DEMO_LABELS = ("moves left", "stays still", "turns clockwise", "stays still", "moves up", "stays still")
DEMO_OBJECT, DEMO_BACKGROUND, DEMO_NUMBER = "beach ball", "rocket", 5
DEMO_QUALITY = 16
LARGEST_DEMO_CLIP = 300_000  # bytes


@dataclass(frozen=True)
class MotionScene:
    """A clip before it is rendered; lengths are in pixels of a clip of `CLIP_SIZE`.

    Attributes:
        background: The still background, RGB, `CLIP_SIZE` pixels square.
        sprite: The object at scale 1, RGBA.
        poses: Centre x and y, angle in radians (clockwise) and scale of the object in each frame, (frames, 4) float64.
        gains: The brightness of each frame, 1 on average, (frames,) float64.
        noise: The standard deviation of the sensor noise, in grey levels of 255.
    """

    background: Image.Image
    sprite: Image.Image
    poses: np.ndarray
    gains: np.ndarray
    noise: float


@dataclass(frozen=True)
class Clip:
    """A clip for training.

    Attributes:
        frames: (frames, size, size, 3) uint8, RGB.
        label: The index in `LABELS`.
        motion: What the object does in each token: the share of the token that it covers and, times that share, its
            speed along x and y in pixels of the model per frame where the token is, its turn in radians per frame
            (clockwise) and its relative growth per frame, (tubelets, rows, columns, 5) float32, in `UNITS`.
    """

    frames: np.ndarray
    label: int
    motion: np.ndarray


@functools.cache
def studio(held_out: bool) -> Studio:
    """Returns the studio for training or for held-out clips, made once."""
    return Studio(held_out)


def eased(rng: np.random.Generator, frames: int) -> tuple[np.ndarray, float]:
    """Returns progress from 0 to 1, with soft ends, (frames,) float64, and its largest step from frame to frame."""
    time_ = np.linspace(0, 1, frames)
    progress = time_ - rng.uniform(0, 0.6) * np.sin(2 * np.pi * time_) / (2 * np.pi)
    return progress, float(np.diff(progress).max())


def draw_poses(rng: np.random.Generator, label: int, sprite: Image.Image, middle: np.ndarray | None) -> np.ndarray:
    """Draws how an object goes through a clip: it rests, moves once as its label says, and rests again.

    Args:
        rng: The source of randomness.
        label: The index in `LABELS`.
        sprite: The object at scale 1.
        middle: Where the object is half way, (x, y), as near as the picture allows; anywhere if left out.

    Returns:
        The poses, see `MotionScene`, (FRAMES, 4) float64.
    """
    length = int(rng.integers(MOTION_FRAMES[0], MOTION_FRAMES[1] + 1))
    start = int(rng.integers(FRAMES - length + 1))
    progress, fastest = eased(rng, length)
    progress = np.concatenate((np.zeros(start), progress, np.ones(FRAMES - start - length)))[:, None]
    angle = rng.uniform(-math.pi, math.pi)
    along, across = rng.uniform(40, min(110, FASTEST_MOVE / fastest)), rng.uniform(-0.15, 0.15)
    turn = math.radians(rng.uniform(60, min(150, FASTEST_TURN / fastest)))
    growth = rng.uniform(1.5, 2.2)

    # From a pose to a pose: x, y, angle, logarithm of the scale. Drawn for the first label of a pair of opposites.
    change = np.zeros(4)
    kind = label // 2
    if kind == 0:
        change[:2] = -along, along * across
    elif kind == 1:
        change[:2] = along * across, -along
    elif kind == 2:
        change[2] = turn
    elif kind == 3:
        change[3] = math.log(growth)
    poses = (progress - 0.5) * change
    radius = math.hypot(*sprite.size) / 2 * math.exp(abs(change[3]) / 2)
    margin = np.minimum(radius + abs(change[:2]) / 2, CLIP_SIZE / 2)
    centre = rng.uniform(margin, CLIP_SIZE - margin) if middle is None else np.clip(middle, margin, CLIP_SIZE - margin)
    poses += (*centre, angle, 0)
    poses[:, 3] = np.exp(poses[:, 3])
    return poses[::-1] if label % 2 and label != STILL else poses


def draw_object(rng: np.random.Generator, place: Studio, name: str | None = None) -> Image.Image:
    """Returns an object, any without `name`, at a random size and brightness, mirrored or not, RGBA."""
    sprite = place.sprites[name or str(rng.choice(list(place.sprites)))]
    if rng.random() < 0.5:
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    factor = rng.uniform(SMALLEST_SIDE, LARGEST_SIDE) / math.sqrt(sprite.width * sprite.height)
    sprite = sprite.resize((round(sprite.width * factor), round(sprite.height * factor)), Image.Resampling.BILINEAR)
    return tinted(sprite, rng.uniform(0.75, 1.15) * rng.uniform(0.94, 1.06, 3))


def draw_scene(rng: np.random.Generator, label: int, held_out: bool) -> MotionScene:
    """Returns a scene of `FRAMES` frames in which an object moves as its label, an index in `LABELS`, says."""
    place = studio(held_out)
    sprite = draw_object(rng, place)
    background = place.background(rng)
    gains, noise = light_drift(rng, FRAMES, 0.04), rng.uniform(0.5, 4.0)
    return MotionScene(background, sprite, draw_poses(rng, label, sprite, None), gains, noise)


def render(scene: MotionScene, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Renders all frames of a scene.

    Args:
        scene: The scene.
        size: Height and width of the frames in pixels. The noise is weaker in small ones, as if they were scaled down.
        rng: The source of the noise.

    Returns:
        The frames, (frames, size, size, 3) uint8 RGB, and how much of each pixel the object covers, from 0 to 255,
        (frames, size, size) uint8.
    """
    factor = size / CLIP_SIZE
    background, sprite = scene.background, scene.sprite
    if size != CLIP_SIZE:
        background = background.resize((size, size), Image.Resampling.BILINEAR)
        small = (max(1, round(sprite.width * factor)), max(1, round(sprite.height * factor)))
        sprite = sprite.resize(small, Image.Resampling.BILINEAR)
    factors = np.array(scene.sprite.size) / np.array(sprite.size)
    still = np.asarray(background, dtype=np.float32)
    frames = np.empty((len(scene.poses), size, size, 3), dtype=np.uint8)
    covers = np.zeros((len(scene.poses), size, size), dtype=np.uint8)
    noise = scene.noise * factor
    for index, (x, y, angle, scale) in enumerate(scene.poses):
        # The window around the object, and the way from its pixels back to those of the sprite.
        reach = math.hypot(*scene.sprite.size) / 2 * scale * factor + 1
        left, top = max(0, int(x * factor - reach)), max(0, int(y * factor - reach))
        right, bottom = min(size, math.ceil(x * factor + reach)), min(size, math.ceil(y * factor + reach))
        turned = np.array(((math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))))
        back = turned / (scale * factor) / factors[:, None]
        origin = np.array(sprite.size) / 2 + back @ (np.array((left, top)) - np.array((x, y)) * factor)
        way = (*back[0], origin[0], *back[1], origin[1])
        window = (right - left, bottom - top)
        moved = np.asarray(sprite.transform(window, Image.Transform.AFFINE, way, Image.Resampling.BILINEAR))
        covers[index, top:bottom, left:right] = moved[..., 3]
        cover = moved[..., 3:].astype(np.float32) / 255
        pixels = still.copy()
        pixels[top:bottom, left:right] += cover * (moved[..., :3] - pixels[top:bottom, left:right])
        pixels *= np.float32(scene.gains[index])
        pixels += rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(noise)
        frames[index] = np.clip(pixels + 0.5, 0, 255).astype(np.uint8)
    return frames, covers


def token_motion(scene: MotionScene, covers: np.ndarray, patch: int = PATCH) -> np.ndarray:
    """Returns what the object does in each token of `patch` pixels, see `Clip`, from what `render` returns."""
    frames, size = covers.shape[:2]
    rows = size // patch
    cover = covers.reshape(frames // TUBELET, TUBELET, rows, patch, rows, patch).mean((1, 3, 5)) / 255
    poses = scene.poses.reshape(frames // TUBELET, TUBELET, 4)
    speed = (poses[:, -1] - poses[:, 0]) / (TUBELET - 1)
    speed[:, :2] *= MODEL_SIZE / CLIP_SIZE
    growth = speed[:, 3] / poses[..., 3].mean(1)
    middle = poses[..., :2].mean(1) * MODEL_SIZE / CLIP_SIZE
    grid = (np.arange(rows) + 0.5) * MODEL_SIZE / rows
    x = grid[None, None, :] - middle[:, 0, None, None]
    y = grid[None, :, None] - middle[:, 1, None, None]
    turn, growth = speed[:, 2, None, None], growth[:, None, None]
    along_x = speed[:, 0, None, None] - turn * y + growth * x
    along_y = speed[:, 1, None, None] + turn * x + growth * y
    parts = np.broadcast_arrays(np.ones_like(cover), along_x, along_y, turn, growth)
    return (np.stack(parts, axis=-1) * cover[..., None] / UNITS).astype(np.float32)


def training_clip(
    rng: np.random.Generator, label: int, directory: Path, size: int = MODEL_SIZE, patch: int = PATCH
) -> Clip:
    """Composes a clip at the resolution of the model, half of the time after h264 and else often after jpeg.

    Args:
        rng: The source of randomness.
        label: The index in `LABELS`.
        directory: Where an mp4 file is kept for a moment.
        size: Height and width of what the model sees, in pixels.
        patch: Those of a token.

    Returns:
        The clip.
    """
    scene = draw_scene(rng, label, held_out=False)
    frames, covers = render(scene, size, rng)
    encoding = rng.random()
    if encoding < 0.5:
        path = directory / "training.mp4"
        write_clip(path, list(frames), quality=int(rng.integers(12, 25)))
        frames = np.stack(read_clip(path))
    elif encoding < 0.75:
        quality = int(rng.integers(50, 95))
        frames = np.stack([compressed(frame, quality) for frame in frames])
    return Clip(frames, label, token_motion(scene, covers, patch))


def mirrored(clip: Clip, x: bool, y: bool, transpose: bool, backwards: bool) -> Clip:
    """Returns the clip after its picture is mirrored and its frames are reversed, with the label it then has."""
    frames, label, motion = clip.frames, clip.label, clip.motion
    signs = np.ones(5, dtype=np.float32)
    if x:
        frames, label, motion = frames[:, :, ::-1], MIRRORED_X[label], motion[:, :, ::-1]
        signs[[1, 3]] *= -1
    if y:
        frames, label, motion = frames[:, ::-1], MIRRORED_Y[label], motion[:, ::-1]
        signs[[2, 3]] *= -1
    motion = motion * signs
    if transpose:
        frames, label = frames.transpose(0, 2, 1, 3), TRANSPOSED[label]
        motion = motion.transpose(0, 2, 1, 3)[..., [0, 2, 1, 3, 4]] * np.array((1, 1, 1, -1, 1), dtype=np.float32)
    if backwards:
        frames, label = frames[::-1], OPPOSITE[label]
        motion = motion[::-1] * np.array((1, -1, -1, -1, -1), dtype=np.float32)
    return Clip(frames, int(label), motion)


def windowed(clip: Clip, rng: np.random.Generator) -> tuple[Clip, np.ndarray]:
    """Cuts a clip down to `WINDOW` tokens a side, somewhere around the object.

    Args:
        clip: The clip, whole.
        rng: The source of randomness.

    Returns:
        The small clip, and the number that each of its tokens has in the whole clip, (tubelets * WINDOW ** 2,) int64.
    """
    tokens = clip.motion.shape[1]
    patch = clip.frames.shape[1] // tokens
    cover = clip.motion[..., 0].sum(0)
    corners = []
    for axis in (1, 0):
        middle = (cover.sum(1 - axis) * np.arange(tokens)).sum() / cover.sum()
        corners.append(int(np.clip(round(middle - (WINDOW - 1) / 2 + rng.uniform(-0.7, 0.7)), 0, tokens - WINDOW)))
    left, top = corners
    rows, columns = slice(top, top + WINDOW), slice(left, left + WINDOW)
    numbers = np.arange(clip.motion[..., 0].size).reshape(clip.motion.shape[:3])[:, rows, columns].ravel()
    pixels = [slice(part.start * patch, part.stop * patch) for part in (rows, columns)]
    return Clip(clip.frames[:, pixels[0], pixels[1]], clip.label, clip.motion[:, rows, columns]), numbers


class TrainingBatches(Dataset):
    """The batches of a run, each from a random stream of its own: first small clips, then whole ones.

    Every clip that is rendered is used more than once, in pairs: as it is and backwards, both mirrored at random.

    Args:
        seed: The seed of the run.
        small_steps: The number of batches of small clips.
        steps: The number of all batches.
        size: Height and width of what the model sees, in pixels.
        patch: Those of a token.
        batch_sizes: The number of clips of a batch of small clips, and of one of whole clips.
        pairs: How many pairs are made of a clip that is rendered, for small clips and for whole ones; the fewer the
            better, and the longer it takes.
    """

    def __init__(
        self,
        seed: int,
        small_steps: int,
        steps: int,
        size: int = MODEL_SIZE,
        patch: int = PATCH,
        batch_sizes: tuple[int, int] = (SMALL_BATCH_SIZE, BATCH_SIZE),
        pairs: tuple[int, int] = (2, 1),
    ) -> None:
        self.seed, self.small_steps, self.steps = seed, small_steps, steps
        self.size, self.patch = size, patch
        self.batch_sizes, self.pairs = batch_sizes, pairs

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[torch.Tensor, ...]:
        """Returns a batch.

        Returns:
            Frames, (batch, FRAMES, 3, size, size) uint8, labels, (batch,) int64, what the object does in each token,
            (batch, tokens, 5) float32, see `Clip`, and the numbers of the tokens, (batch, tokens) int64.
        """
        rng = np.random.default_rng((TRAINING_STREAM, self.seed, step))
        even, small = step < EVEN_STEPS, step < self.small_steps
        size, pairs = (kinds[0 if small else 1] for kinds in (self.batch_sizes, self.pairs))
        clips, numbers = [], []
        with tempfile.TemporaryDirectory() as directory:
            for _ in range(size // (2 * pairs)):
                label = rng.integers(len(LABELS)) if even else rng.choice(len(LABELS), p=LABEL_WEIGHTS)
                clip = training_clip(rng, int(label), Path(directory), self.size, self.patch)
                for backwards in (False, True) * pairs:
                    variant = mirrored(clip, *(rng.random(3) < 0.5), backwards)
                    tokens = np.arange(variant.motion[..., 0].size)
                    if small:
                        variant, tokens = windowed(variant, rng)
                    clips.append(variant)
                    numbers.append(tokens)
        frames = torch.from_numpy(np.stack([clip.frames for clip in clips])).permute(0, 1, 4, 2, 3).contiguous()
        labels = torch.tensor([clip.label for clip in clips])
        motion = torch.from_numpy(np.stack([clip.motion for clip in clips])).flatten(1, 3)
        return frames, labels, motion, torch.from_numpy(np.stack(numbers))


def make_model() -> VideoMAEForVideoClassification:
    """Returns the tiny VideoMAE with random weights."""
    config = VideoMAEConfig(
        image_size=MODEL_SIZE,
        patch_size=PATCH,
        num_frames=FRAMES,
        tubelet_size=TUBELET,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=512,
        use_mean_pooling=True,
        decoder_num_attention_heads=2,
        decoder_hidden_size=64,
        decoder_num_hidden_layers=1,
        decoder_intermediate_size=128,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    return VideoMAEForVideoClassification(config)


def cosine_filters(count: int, patch: int = PATCH) -> np.ndarray:
    """Returns the smoothest `count` products of two cosines over a patch, (count, patch, patch) float32."""
    waves = np.cos(np.pi * np.outer(np.arange(patch), np.arange(patch) + 0.5) / patch)
    pairs = sorted(np.ndindex(patch, patch), key=lambda pair: (pair[0] ** 2 + pair[1] ** 2, pair))[:count]
    return np.stack([np.outer(waves[v], waves[u]) for v, u in pairs]).astype(np.float32)


@torch.no_grad()
def start_patches(projection: nn.Conv3d, frames: torch.Tensor, motion: torch.Tensor) -> None:
    """Sets the patch embedding to cosines of brightness and colour: sums over the frames of a token, and differences.

    Random filters would hardly see the difference of two frames in the beginning, which is where motion shows.

    Args:
        projection: The convolution that makes tokens, changed in place.
        frames: Frames of some clips, (batch, FRAMES, 3, size, size) uint8.
        motion: What the object does in each token, (batch, tokens, 5) float32, see `Clip`.
    """
    per_colour = projection.out_channels // 16
    filters = []
    for colour, count in (((1, 1, 1), 5), ((1, -1, 0), 1.5), ((0.5, 0.5, -1), 1.5)):
        spatial = torch.from_numpy(cosine_filters(int(count * per_colour), projection.kernel_size[-1]))
        coloured = torch.tensor(colour)[None, :, None, None] * spatial[:, None]
        filters += [torch.stack((coloured, sign * coloured), dim=2) for sign in (1, -1)]
    projection.weight.copy_(torch.cat(filters))
    projection.bias.zero_()
    states = projection((frames.float() / 127.5 - 1).transpose(1, 2)).flatten(2).transpose(1, 2)
    states = states[motion[..., 0] > 0.2]
    projection.weight /= states.std(0)[:, None, None, None, None]
    projection.bias.copy_(-states.mean(0) / states.std(0))


def token_states(
    model: VideoMAEForVideoClassification, pixel_values: torch.Tensor, numbers: torch.Tensor
) -> torch.Tensor:
    """Runs the model on clips of any size.

    Args:
        model: The model.
        pixel_values: (batch, FRAMES, 3, size, size) float32.
        numbers: Which tokens of a whole clip these are, for their position embeddings, (batch, tokens) int64.

    Returns:
        The hidden states after the last layer, (batch, tokens, hidden_size) float32.
    """
    embeddings = model.videomae.embeddings
    patches = embeddings.patch_embeddings.projection(pixel_values.transpose(1, 2)).flatten(2).transpose(1, 2)
    return model.videomae.encoder(patches + embeddings.position_embeddings[0][numbers]).last_hidden_state


def train(
    model: VideoMAEForVideoClassification, seed: int, small_steps: int, steps: int, checkpoints: Path | None
) -> None:
    """Trains the model in place; see `fit`."""

    def states_and_logits(pixel_values: torch.Tensor, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states = token_states(model, pixel_values, numbers)
        return states, model.classifier(model.fc_norm(states.mean(1)))

    projection = model.videomae.embeddings.patch_embeddings.projection
    fit(model, projection, states_and_logits, TrainingBatches(seed, small_steps, steps), checkpoints)


def fit(
    model: Any,
    projection: nn.Conv3d,
    states_and_logits: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    dataset: TrainingBatches,
    checkpoints: Path | None = None,
    learning_rate: float = LEARNING_RATE,
) -> None:
    """Trains a model of clips in place: AdamW in float32, linear warm-up, then a cosine down to zero.

    A process of its own renders the batches. Torch gets one thread: two are much slower on a busy machine.

    Args:
        model: The model.
        projection: In it, the convolution that makes tokens.
        states_and_logits: What the model makes of pixel values, (batch, FRAMES, 3, size, size) float32 in [-1, 1], and
            the numbers of their tokens in a whole clip: last hidden states, (batch, tokens, hidden_size), and logits,
            (batch, labels).
        dataset: The batches.
        checkpoints: Where to save the model now and then, if anywhere.
        learning_rate: The highest one.
    """
    torch.set_num_threads(1)
    batches, steps = DataLoader(dataset, batch_size=None, num_workers=1, prefetch_factor=8), len(dataset)
    head = nn.Linear(model.config.hidden_size, len(UNITS))
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps))
    model.train()
    start, records = time.perf_counter(), []
    for step, (frames, labels, motion, numbers) in enumerate(batches):
        if step == 0:
            start_patches(projection, frames, motion)
        states, logits = states_and_logits(frames.float() / 127.5 - 1, numbers)
        errors = nn.functional.smooth_l1_loss(head(states), motion, reduction="none")
        weights = 0.1 + motion[..., :1]
        token_loss = (errors * weights).sum() / weights.sum()
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=0.05)
        optimizer.zero_grad()
        (loss + 4 * token_loss).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        records.append((loss.item(), token_loss.item(), (logits.argmax(-1) == labels).float().mean().item()))
        if step % 20 == 19:
            means = "loss {:.3f}, of motion {:.3f}, accuracy {:.3f}".format(*np.mean(records[-20:], axis=0))
            print(f"step {step + 1} of {steps}, {time.perf_counter() - start:.0f} s: {means}", flush=True)
        if checkpoints is not None and step % 100 == 99:
            model.save_pretrained(checkpoints / f"step-{step + 1}")
    model.eval()


@functools.cache
def processor() -> TemporalReuseVideoProcessor:
    """Returns the processor that is saved with the model."""
    return TemporalReuseVideoProcessor(
        num_frames=FRAMES,
        frame_sampling_rate=1,
        size={"height": MODEL_SIZE, "width": MODEL_SIZE},
        resample=Image.Resampling.BILINEAR,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def to_pixel_values(frames: list[np.ndarray]) -> torch.Tensor:
    """Prepares a clip for the model just as the saved preprocessor does.

    Args:
        frames: `FRAMES` frames, (height, width, 3) uint8 RGB each.

    Returns:
        Pixel values in [-1, 1], (FRAMES, 3, MODEL_SIZE, MODEL_SIZE) float32.
    """
    return processor()(np.stack(frames), return_tensors="pt").pixel_values[0]


def held_out_clip(seed: int, number: int, directory: Path) -> tuple[list[np.ndarray], int]:
    """Makes one held-out clip: renders it, encodes it to an mp4 file and decodes that.

    Args:
        seed: The seed of the run.
        number: The number of the clip, from 0; one label follows the other.
        directory: Where the mp4 file is kept for a moment.

    Returns:
        The decoded frames, FRAMES times (CLIP_SIZE, CLIP_SIZE, 3) uint8 RGB, and the index in `LABELS`.
    """
    rng = np.random.default_rng((HELD_OUT_STREAM, seed, number))
    label = number % len(LABELS)
    frames, _ = render(draw_scene(rng, label, held_out=True), CLIP_SIZE, rng)
    path = directory / "held-out.mp4"
    write_clip(path, list(frames), quality=int(rng.integers(18, 29)))
    decoded = read_clip(path)
    path.unlink()
    return decoded, label


@torch.inference_mode()
def clip_probabilities(model: nn.Module, pixel_values: torch.Tensor) -> torch.Tensor:
    """Returns the probability of each label, (clips, labels) float32, for what `to_pixel_values` returns, stacked."""
    return model(pixel_values=pixel_values).logits.softmax(dim=-1)


def share(hits: list[bool]) -> float:
    """Returns the share of hits, with four digits; 0 if there is nothing to count."""
    return round(float(np.mean(hits)), 4) if hits else 0.0


def evaluate(model: nn.Module, seed: int, clips: int, directory: Path) -> dict[str, Any]:
    """Judges the model on held-out clips, as many of one label as of another.

    Args:
        model: The trained model.
        seed: The seed of the run.
        clips: The number of clips.
        directory: Where the mp4 file of the clip in hand is kept.

    Returns:
        Accuracy over all clips and per label and the mean probability of the true label; the accuracy on the same
        clips with their frames in random order; and among clips of labels that have an opposite, the shares in which
        the prediction turns into its opposite when the clip is played backwards, and in which it stays the same.
    """
    hits: dict[int, list[bool]] = {label: [] for label in range(len(LABELS))}
    shuffled_hits: dict[int, list[bool]] = {label: [] for label in range(len(LABELS))}
    turned, kept, probabilities = [], [], []
    for number in range(clips):
        frames, label = held_out_clip(seed, number, directory)
        values = to_pixel_values(frames)
        order = torch.from_numpy(np.random.default_rng((HELD_OUT_STREAM, seed, number, 1)).permutation(FRAMES))
        forwards, shuffled, backwards = clip_probabilities(model, torch.stack((values, values[order], values.flip(0))))
        hits[label].append(forwards.argmax().item() == label)
        shuffled_hits[label].append(shuffled.argmax().item() == label)
        probabilities.append(forwards[label].item())
        if label != STILL:
            before, after = int(forwards.argmax()), int(backwards.argmax())
            turned.append(before != STILL and after == OPPOSITE[before])
            kept.append(before == after)
    return {
        "held_out_clips": clips,
        "held_out_accuracy": share(sum(hits.values(), [])),
        "held_out_accuracy_per_label": {LABELS[label]: share(part) for label, part in hits.items()},
        "mean_probability_of_true_label": round(float(np.mean(probabilities)), 4),
        "shuffled_accuracy": share(sum(shuffled_hits.values(), [])),
        "shuffled_accuracy_per_label": {LABELS[label]: share(part) for label, part in shuffled_hits.items()},
        "reversed_becomes_opposite": share(turned),
        "reversed_keeps_prediction": share(kept),
    }


def demo_scene() -> MotionScene:
    """Returns the scene of the demo clip: one object that does what `DEMO_LABELS` says, mild noise."""
    rng = np.random.default_rng((DEMO_STREAM, DEMO_NUMBER))
    place = studio(held_out=True)
    sprite = draw_object(rng, place, DEMO_OBJECT)
    background = place.background(rng, DEMO_BACKGROUND)
    changes = {
        "moves left": (-85, 0, 0, 0),
        "moves up": (0, -75, 0, 0),
        "turns clockwise": (0, 0, math.radians(130), 0),
        "stays still": (0, 0, 0, 0),
    }
    time_ = np.linspace(0, 1, FRAMES)
    progress = time_ - 0.5 * np.sin(2 * np.pi * time_) / (2 * np.pi)
    pose, parts = np.array((180, 165, rng.uniform(-0.5, 0.5), 1.0)), []
    for label in DEMO_LABELS:
        parts.append(pose + progress[:, None] * changes[label])
        pose = parts[-1][-1]
    poses = np.concatenate(parts)
    return MotionScene(background, sprite, poses, light_drift(rng, len(poses), 0.02), noise=1.5)


def judge_demo(model: nn.Module, frames: list[np.ndarray]) -> tuple[dict[str, Any], bool]:
    """Judges the model on the demo clip, one run of `FRAMES` frames after the other.

    Returns:
        What it shows, what the model predicts and with which probability; and whether the model is right about every
        run but the rests that come after the first one.
    """
    values = torch.stack([to_pixel_values(frames[start : start + FRAMES]) for start in range(0, len(frames), FRAMES)])
    probabilities = clip_probabilities(model, values)
    predicted = [LABELS[index] for index in probabilities.argmax(-1)]
    right = [
        guess == label
        for number, (guess, label) in enumerate(zip(predicted, DEMO_LABELS))
        if label != LABELS[STILL] or number == 1
    ]
    figures = {
        "demo_labels": list(DEMO_LABELS),
        "demo_predictions": predicted,
        "demo_probabilities": [round(value, 4) for value in probabilities.amax(-1).tolist()],
    }
    return figures, all(right)


def save_model(model: VideoMAEForVideoClassification, directory: Path) -> None:
    """Saves the model, in float32 and with reuse at its default settings."""
    with_temporal_reuse(model.float()).save_pretrained(directory)
    processor().save_pretrained(directory)


def readme_text(seed: int, figures: dict[str, Any]) -> str:
    """Returns the text that goes beside the model: what it is and how it was made."""
    names = ", ".join(f"`{photo.name}`" for photo in PHOTOS)
    labels = "\n".join(
        f"| {label} | {value:.1%} | {figures['shuffled_accuracy_per_label'][label]:.1%} |"
        for label, value in figures["held_out_accuracy_per_label"].items()
    )
    whole_steps = figures["steps"] - figures["small_steps"]
    text = f"""# Tiny VideoMAE whose classes need motion

Made by `scripts/make_motion_assets.py --seed {seed}`; run it again to make it anew.

The model tells how the one object of a clip moves: {", ".join(LABELS)}. It takes {FRAMES} frames of
{MODEL_SIZE}x{MODEL_SIZE} pixels. Object, background, size, place, noise and light say nothing about the class, and
opposites are time reversals of each other, so that only the order of the frames tells them apart. It knows these few
objects in front of still backgrounds and nothing else; it is there to try the package out.

## Training

From scratch, on clips composed in memory: {figures["small_steps"]} batches of {figures["small_batch_size"]} small
clips ({WINDOW * PATCH}x{WINDOW * PATCH} pixels, cut out of whole ones around the object), then {whole_steps} batches
of {figures["batch_size"]} whole clips, always on all tokens of a clip. Besides the class, the model learns how much of
each token the object covers and how that part moves, through a linear layer that is thrown away afterwards.
`training.json` holds the figures of the run.

## Accuracy

The accuracy is {figures["held_out_accuracy"]:.1%} on {figures["held_out_clips"]} clips with other random numbers, over
regions of the photographs that training does not show, each written to an mp4 file and decoded again. With the frames
in random order it is {figures["shuffled_accuracy"]:.1%}. With the frames in reverse, the prediction turns into the
opposite label in {figures["reversed_becomes_opposite"]:.1%} of the clips whose label has one.

| Label | Accuracy | Frames in random order |
| --- | --- | --- |
{labels}

`../{DEMO_CLIP}` is a longer clip of the same kind, {len(DEMO_LABELS) * FRAMES} frames at {FPS} frames per second. Each
{FRAMES} of them show something else: {", ".join(DEMO_LABELS)}.

## Photographs

All are inside scikit-image: {names}. The table in [../README.md](../README.md) says what they show, where they come
from and under which licences they are; all but the public domain ones are CC0. The beach ball, the life ring and the
die are drawn by `scripts/make_demo_assets.py`.
"""
    parts = [part if part[0] in "#|" else textwrap.fill(part, 119) for part in text.strip().split("\n\n")]
    return "\n\n".join(parts) + "\n"


def make_assets(directory: Path, seed: int, quick: bool, checkpoints: Path | None) -> tuple[float, bool]:
    """Makes all assets in an empty directory.

    Args:
        directory: Where the assets go.
        seed: The seed of the run.
        quick: Whether to take very few steps and clips, to try the script out.
        checkpoints: Where to save the model now and then, if anywhere.

    Returns:
        The accuracy on the held-out clips, and whether the model is right about the demo clip, which is small enough.
    """
    small_steps, steps, clips = (2, 6, 9) if quick else (SMALL_STEPS, STEPS, HELD_OUT_CLIPS)
    torch.manual_seed(seed)
    model = make_model()
    start = time.perf_counter()
    train(model, seed, small_steps, steps, checkpoints)
    run = {
        "seed": seed,
        "steps": steps,
        "small_steps": small_steps,
        "batch_size": BATCH_SIZE,
        "small_batch_size": SMALL_BATCH_SIZE,
        "training_seconds": round(time.perf_counter() - start),
    }
    return finish_assets(model, directory, seed, clips, run)


def finish_assets(
    model: VideoMAEForVideoClassification, directory: Path, seed: int, clips: int, run: dict[str, Any]
) -> tuple[float, bool]:
    """Judges a trained model and writes all assets.

    Args:
        model: The trained model.
        directory: Where the assets go.
        seed: The seed of the run.
        clips: The number of held-out clips.
        run: The figures of the training.

    Returns:
        See `make_assets`.
    """
    figures = evaluate(model, seed, clips, directory)
    scene = demo_scene()
    demo_clip = directory / DEMO_CLIP
    frames, _ = render(scene, CLIP_SIZE, np.random.default_rng((DEMO_STREAM, DEMO_NUMBER, 1)))
    write_clip(demo_clip, list(frames), DEMO_QUALITY)
    demo_figures, demo_is_right = judge_demo(model, read_clip(demo_clip))
    figures |= demo_figures | run
    save_model(model, directory / MODEL_DIRECTORY)
    (directory / MODEL_DIRECTORY / "training.json").write_text(json.dumps(figures, indent=2) + "\n")
    (directory / MODEL_DIRECTORY / "README.md").write_text(readme_text(seed, figures), encoding="utf-8")
    print(json.dumps(figures, indent=2))
    print(f"{DEMO_CLIP}: {demo_clip.stat().st_size} bytes")
    return figures["held_out_accuracy"], demo_is_right and demo_clip.stat().st_size <= LARGEST_DEMO_CLIP


def main() -> None:
    """Reads the command line, makes the assets and puts them in place if they are good enough."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="directory for the assets")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights, the training and the held-out clips")
    parser.add_argument("--quick", action="store_true", help="a few steps and clips, whatever the accuracy")
    parser.add_argument("--checkpoints", type=Path, help="directory in which the model is saved every 100 steps")
    arguments = parser.parse_args()

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.out.parent) as name:
        directory = Path(name)
        accuracy, demo_is_right = make_assets(directory, arguments.seed, arguments.quick, arguments.checkpoints)
        if not arguments.quick and accuracy < REQUIRED_ACCURACY:
            sys.exit(
                f"The held-out accuracy is {accuracy:.3f}, below {REQUIRED_ACCURACY}: the assets stay as they were."
            )
        if not arguments.quick and not demo_is_right:
            sys.exit("The demo clip is too large or the model is wrong about it: the assets stay as they were.")
        replace_assets(directory, arguments.out, (MODEL_DIRECTORY, DEMO_CLIP))


if __name__ == "__main__":
    main()
