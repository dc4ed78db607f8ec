"""Trains the tiny V-JEPA 2 and DINOv2 of the benchmarks, on the generated clips of the models that ship.

    python scripts/train_benchmark_models.py --out build/trained [--model vjepa2] [--model dinov2] [--seed 0] [--quick]

The V-JEPA 2 tells how the one object of a clip moves, as the VideoMAE of `make_motion_assets.py` does; the DINOv2
tells what moves, frame by frame, as the ViT of `make_demo_assets.py` does. Both see smaller pictures than those and
are trained from scratch on clips composed in memory. They are then judged on clips made with other random numbers over
other regions of the photographs, each written to an mp4 file and decoded again.

A folder for each model is written below `--out`: weights, preprocessor, and `training.json` with the figures of the
run. `python -m benchmarks run --part trained` looks for them in `build/trained`. They are not part of the repository.
With one seed all that is drawn is the same in every run; what the encoder of h264 makes of a clip is so nearly always.
Needs the extra `assets`: `pip install '.[assets]'`.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import make_demo_assets as objects
import make_motion_assets as motions
import numpy as np
import torch
from make_demo_assets import HELD_OUT_STREAM, TRAINING_STREAM, Studio, render_clip, training_batch, write_clip
from make_motion_assets import FRAMES, TUBELET, TrainingBatches, fit, held_out_clip
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from transformers import (
    Dinov2Config,
    Dinov2ForImageClassification,
    PreTrainedModel,
    VJEPA2Config,
    VJEPA2ForVideoClassification,
)

from hf_ttr import TemporalReuseVideoProcessor


# Half the resolution of the VideoMAE, and as many tokens.
CLIP_SIDE, CLIP_PATCH = 56, 8
CLIP_STEPS, CLIP_SMALL_STEPS = 1100, 1000
# Smaller and fewer batches than for the VideoMAE: this is to take no longer than a quarter of an hour.
CLIP_BATCH_SIZES, CLIP_PAIRS = (32, 16), (2, 2)
CLIP_LEARNING_RATE = 1.2e-3

FRAME_SIDE, FRAME_PATCH = 112, 14
FRAME_STEPS, FRAME_BATCH_SIZE, FRAMES_OF_SCENE = 700, 48, 3
FRAME_LEARNING_RATE = 1e-3
HELD_OUT_CLIPS = {"vjepa2": 180, "dinov2": 80}
HELD_OUT_FRAMES = 48
STREAM_STREAM = 20
"""The stream of random numbers of streams, beside those of the other scripts."""


def labelled(labels: tuple[str, ...]) -> dict[str, Any]:
    """Returns the part of a config that names labels."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}


def make_vjepa2() -> VJEPA2ForVideoClassification:
    """Returns the tiny V-JEPA 2 with random weights; its predictor, which classifiers do not use, is next to nil."""
    config = VJEPA2Config(
        crop_size=CLIP_SIDE,
        patch_size=CLIP_PATCH,
        frames_per_clip=FRAMES,
        tubelet_size=TUBELET,
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=3,
        mlp_ratio=4.0,
        num_pooler_layers=1,
        pred_hidden_size=12,
        pred_num_attention_heads=1,
        pred_num_hidden_layers=1,
        pred_num_mask_tokens=1,
        pred_mlp_ratio=1.0,
        **labelled(motions.LABELS),
    )
    return VJEPA2ForVideoClassification(config)


def make_dinov2() -> Dinov2ForImageClassification:
    """Returns the tiny DINOv2 with random weights."""
    config = Dinov2Config(
        image_size=FRAME_SIDE,
        patch_size=FRAME_PATCH,
        hidden_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        **labelled(objects.LABELS),
    )
    return Dinov2ForImageClassification(config)


def train_vjepa2(model: VJEPA2ForVideoClassification, seed: int, small_steps: int, steps: int) -> None:
    """Trains the model in place, on small clips and then on whole ones: its positions are relative."""

    def states_and_logits(pixel_values: torch.Tensor, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for layer in model.vjepa2.encoder.layer:
            layer.attention.grid_size = pixel_values.shape[-1] // CLIP_PATCH
        states = model.vjepa2.encoder(pixel_values).last_hidden_state
        return states, model.classifier(model.pooler(states))

    dataset = TrainingBatches(seed, small_steps, steps, CLIP_SIDE, CLIP_PATCH, CLIP_BATCH_SIZES, CLIP_PAIRS)
    projection = model.vjepa2.encoder.embeddings.patch_embeddings.proj
    fit(model, projection, states_and_logits, dataset, learning_rate=CLIP_LEARNING_RATE)
    for layer in model.vjepa2.encoder.layer:
        layer.attention.grid_size = CLIP_SIDE // CLIP_PATCH


class FrameBatches(Dataset):
    """The batches of a run of the DINOv2, each from a random stream of its own.

    Args:
        seed: The seed of the run.
        steps: The number of batches.
        size: The number of frames of each.
    """

    def __init__(self, seed: int, steps: int, size: int) -> None:
        self.seed, self.steps, self.size = seed, steps, size
        self.studio: Studio | None = None

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns a batch, see `training_batch`."""
        if self.studio is None:
            self.studio = Studio(held_out=False)
        rng = np.random.default_rng((TRAINING_STREAM, self.seed, step))
        return training_batch(self.studio, rng, self.size, FRAME_SIDE, FRAMES_OF_SCENE)


def train_dinov2(model: Dinov2ForImageClassification, seed: int, steps: int, batch_size: int) -> None:
    """Trains the model in place: AdamW in float32, linear warm-up, then a cosine down to zero."""
    torch.set_num_threads(1)
    batches = DataLoader(FrameBatches(seed, steps, batch_size), batch_size=None, num_workers=1, prefetch_factor=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=FRAME_LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: objects.rate(step, steps))
    model.train()
    start, losses = time.perf_counter(), []
    for step, (pixel_values, targets) in enumerate(batches):
        loss = torch.nn.functional.cross_entropy(model(pixel_values).logits, targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 20 == 19:
            seconds = time.perf_counter() - start
            print(f"step {step + 1} of {steps}, {seconds:.0f} s: loss {np.mean(losses[-20:]):.3f}", flush=True)
    model.eval()


def processor(name: str) -> TemporalReuseVideoProcessor:
    """Returns the processor that is saved with a model."""
    frames, side = {"vjepa2": (FRAMES, CLIP_SIDE), "dinov2": (HELD_OUT_FRAMES, FRAME_SIDE)}[name]
    return TemporalReuseVideoProcessor(
        num_frames=frames,
        frame_sampling_rate=1,
        size={"height": side, "width": side},
        resample=Image.Resampling.BILINEAR,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def object_clip(
    studio: Studio, seed: int, number: int, directory: Path, still: bool = False
) -> tuple[list[np.ndarray], int]:
    """Makes one held-out clip of an object that moves: renders it, encodes it to an mp4 file and decodes that.

    Args:
        studio: That for held-out clips.
        seed: The seed of the run.
        number: The number of the clip, from 0; one label follows the other.
        directory: Where the mp4 file is kept for a moment.
        still: Whether the objects stay where they are seen best, and there is no cut.

    Returns:
        The decoded frames, `HELD_OUT_FRAMES` times (CLIP_SIZE, CLIP_SIZE, 3) uint8 RGB, and the index in the labels.
    """
    rng = np.random.default_rng((HELD_OUT_STREAM, seed, number))
    label = number % len(objects.LABELS)
    scene = objects.at_rest(studio.scene(rng, label)) if still else studio.scene(rng, label)
    path = directory / "held-out.mp4"
    write_clip(path, render_clip(scene, rng)[:HELD_OUT_FRAMES], quality=int(rng.integers(18, 29)))
    decoded = objects.read_clip(path)
    path.unlink()
    return decoded, label


def stream_poses(rng: np.random.Generator, sprite: Image.Image, wanted: list[int]) -> tuple[np.ndarray, list[int]]:
    """Draws how an object goes through a stream, one motion after the other from where the last one ended.

    Along each axis, and in size, it goes to and fro between two ends.

    Args:
        rng: The source of randomness.
        sprite: The object at scale 1.
        wanted: What it is to do in each run of `FRAMES` frames, indices in the labels of motions. Instead of a motion
            that leads out of the picture it does the opposite.

    Returns:
        The poses, see `MotionScene`, (FRAMES * len(wanted), 4) float64, and what it does.
    """
    reach = np.array((*rng.uniform(40, 80, 2), 0, math.log(rng.uniform(1.5, 2.0))))
    radius = math.hypot(*sprite.size) / 2 * math.exp(reach[3] / 2)
    margin = np.minimum(radius + reach[:2] / 2, motions.CLIP_SIZE / 2)
    # Left, up and small are below zero.
    pose = reach / 2 * rng.choice((-1, 1), 4)
    pose[2] = rng.uniform(-math.pi, math.pi)
    parts, labels = [], []
    for label in wanted:
        change = np.zeros(4)
        if label == 4 or label == 5:
            change[2] = math.radians(rng.uniform(60, 110)) * (1 if label == 4 else -1)
        elif label != motions.STILL:
            axis = {0: 0, 1: 1, 3: 3}[label // 2]
            change[axis] = -2 * pose[axis]
            # The first of each pair goes left, or up, but approaches.
            label = label // 2 * 2 + int((change[axis] > 0) != (axis == 3))
        labels.append(label)
        fastest = np.array((motions.FASTEST_MOVE, motions.FASTEST_MOVE, math.radians(motions.FASTEST_TURN), np.inf))
        while True:
            length = int(rng.integers(motions.MOTION_FRAMES[0], motions.MOTION_FRAMES[1] + 1))
            progress, step = motions.eased(rng, length)
            if (step * abs(change) <= fastest).all():
                break
        start = int(rng.integers(FRAMES - length + 1))
        progress = np.concatenate((np.zeros(start), progress, np.ones(FRAMES - start - length)))
        parts.append(pose + progress[:, None] * change)
        pose = pose + change
    poses = np.concatenate(parts)
    poses[:, :2] += rng.uniform(margin, motions.CLIP_SIZE - margin)
    poses[:, 3] = np.exp(poses[:, 3])
    return poses, labels


def motion_stream(
    seed: int, number: int, runs: int, directory: Path, still: bool = False
) -> tuple[list[np.ndarray], list[int]]:
    """Makes a held-out stream in which one object moves now and then: renders, encodes and decodes it.

    Args:
        seed: The seed of the run.
        number: The number of the stream.
        runs: Its length, in runs of `FRAMES` frames.
        directory: Where the mp4 file is kept for a moment.
        still: Whether the object rests in three of four runs, instead of in none.

    Returns:
        The decoded frames, (CLIP_SIZE, CLIP_SIZE, 3) uint8 RGB each, and what it does in each run, an index in the
        labels of motions.
    """
    rng = np.random.default_rng((STREAM_STREAM, seed, number, int(still)))
    place = motions.studio(True)
    wanted = [motions.STILL if still and run % 4 != 1 else int(rng.integers(motions.STILL)) for run in range(runs)]
    sprite = motions.draw_object(rng, place)
    poses, labels = stream_poses(rng, sprite, wanted)
    gains = objects.light_drift(rng, len(poses), 0.04)
    scene = motions.MotionScene(place.background(rng), sprite, poses, gains, rng.uniform(0.5, 4.0))
    frames, _ = motions.render(scene, motions.CLIP_SIZE, rng)
    path = directory / "stream.mp4"
    write_clip(path, list(frames), quality=int(rng.integers(18, 29)))
    decoded = objects.read_clip(path)
    path.unlink()
    return decoded, labels


def held_out_clips(
    name: str, seed: int, directory: Path, still: bool = False
) -> Callable[[int], tuple[list[np.ndarray], int]]:
    """Returns what makes the held-out clip of a number, its frames and its label; see `object_clip` for `still`."""
    if name == "vjepa2":
        return lambda number: held_out_clip(seed, number, directory)
    studio = Studio(held_out=True)
    return lambda number: object_clip(studio, seed, number, directory, still)


@torch.inference_mode()
def evaluate(name: str, model: PreTrainedModel, seed: int, clips: int) -> dict[str, Any]:
    """Judges a model on held-out clips, as many of one label as of another.

    Returns:
        Accuracy over all clips and per label; of the DINOv2, that of single frames, too.
    """
    labels = [model.config.id2label[index] for index in range(model.config.num_labels)]
    hits: dict[str, list[bool]] = {label: [] for label in labels}
    frame_hits: list[bool] = []
    prepare = processor(name)
    with tempfile.TemporaryDirectory() as folder:
        make = held_out_clips(name, seed, Path(folder))
        for number in range(clips):
            frames, label = make(number)
            pixels = prepare(np.stack(frames), return_tensors="pt").pixel_values
            logits = model(pixels if name == "vjepa2" else pixels[0]).logits
            hits[labels[label]].append(logits.mean(0).argmax().item() == label)
            frame_hits += (logits.argmax(-1) == label).tolist()
    figures = {
        "held_out_clips": clips,
        "held_out_accuracy": motions.share(sum(hits.values(), [])),
        "held_out_accuracy_per_label": {label: motions.share(part) for label, part in hits.items()},
    }
    return figures if name == "vjepa2" else {**figures, "held_out_frame_accuracy": motions.share(frame_hits)}


def make_model(name: str, out: Path, seed: int, quick: bool) -> dict[str, Any]:
    """Trains, judges and saves a model.

    Args:
        name: `"vjepa2"` or `"dinov2"`.
        out: The folder below which that of the model is written.
        seed: The seed of the weights, the training and the held-out clips.
        quick: Whether to take very few steps and clips, to try the script out.

    Returns:
        The figures of the run.
    """
    torch.manual_seed(seed)
    start, clips = time.perf_counter(), 2 if quick else HELD_OUT_CLIPS[name]
    if name == "vjepa2":
        model: Any = make_vjepa2()
        small_steps, steps = (1, 2) if quick else (CLIP_SMALL_STEPS, CLIP_STEPS)
        train_vjepa2(model, seed, small_steps, steps)
        run = {"steps": steps, "small_steps": small_steps}
    else:
        model = make_dinov2()
        steps, batch_size = (2, 4) if quick else (FRAME_STEPS, FRAME_BATCH_SIZE)
        train_dinov2(model, seed, steps, batch_size)
        run = {"steps": steps, "batch_size": batch_size}
    run |= {"seed": seed, "training_seconds": round(time.perf_counter() - start)}
    directory = out / name
    # Before it is judged: training is what takes long.
    model.save_pretrained(directory)
    processor(name).save_pretrained(directory)
    figures = evaluate(name, model.eval(), seed, clips) | run
    (directory / "training.json").write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def main() -> None:
    """Reads the command line and makes the models."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="directory below which the models are written")
    parser.add_argument("--model", choices=HELD_OUT_CLIPS, action="append", help="only this one; can be repeated")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights, the training and the held-out clips")
    parser.add_argument("--quick", action="store_true", help="a few steps and clips")
    arguments = parser.parse_args()
    for name in arguments.model or HELD_OUT_CLIPS:
        print(name, json.dumps(make_model(name, arguments.out, arguments.seed, arguments.quick), indent=2))


if __name__ == "__main__":
    main()
