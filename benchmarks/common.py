"""What the suites share: where data lies, what the machine is, models of random weights, synthetic clips."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import ViTConfig, ViTForImageClassification

import hf_ttr
from hf_ttr.video import read_frames


ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results.json"
QUICK_RESULTS = ROOT / "build" / "benchmarks-quick.json"
GPU_RESULTS = ROOT / "build" / "gpu.json"
VIT_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 192, "num_attention_heads": 3, "num_hidden_layers": 12},
    "small": {"hidden_size": 384, "num_attention_heads": 6, "num_hidden_layers": 12},
    "base": {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12},
    "large": {"hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 24},
}


class MissingData(Exception):
    """Real weights or videos that a part needs are not there; the message is one sentence."""


def real_data() -> Path:
    """The folder of real weights and videos (environment variable HF_TTR_REAL_DATA).

    Raises:
        MissingData: if it is not there.
    """
    folder = Path(os.environ.get("HF_TTR_REAL_DATA", ROOT.parent / "shared" / "real"))
    if not (folder / "models").is_dir() or not (folder / "videos").is_dir():
        raise MissingData(
            f"there is no real data in {folder}; set HF_TTR_REAL_DATA to a folder with models/ and videos/."
        )
    return folder


def machine() -> dict[str, Any]:
    """Names what the figures were taken on."""
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def versions() -> dict[str, str]:
    """The software that the figures were taken with."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "hf_ttr": hf_ttr.__version__,
    }


def random_vit(size: str, image_size: int = 224) -> ViTForImageClassification:
    """A ViT/16 of one of `VIT_SIZES` with random weights: for speed and memory, nothing else."""
    torch.manual_seed(0)
    shape = VIT_SIZES[size]
    config_class: Any = ViTConfig
    config = config_class(
        **shape, intermediate_size=4 * shape["hidden_size"], image_size=image_size, patch_size=16, num_labels=1000
    )
    return ViTForImageClassification(config).eval()


def changing_clip(share: float, frames: int = 16, seed: int = 0, image_size: int = 224) -> torch.Tensor:
    """
    A static scene of noise in which a random share of the patches changes in every frame.

    Returns:
        `torch.FloatTensor` of shape `(1, frames, 3, image_size, image_size)`.
    """
    generator = torch.Generator().manual_seed(seed)
    side = image_size // 16
    clip = torch.randn(1, 1, 3, side, 16, side, 16, generator=generator).repeat(1, frames, 1, 1, 1, 1, 1)
    for frame in range(1, frames):
        changed = torch.rand(side, side, generator=generator) < share
        noise = torch.randn(3, side, 16, side, 16, generator=generator)
        clip[0, frame:] = torch.where(changed[None, :, None, :, None], noise, clip[0, frame:])
    return clip.flatten(5, 6).flatten(3, 4)


@lru_cache(maxsize=1)
def demo_clip(frames: int) -> torch.Tensor:
    """
    The first frames of the clip that ships with the package, which has 64: something moves before a still background.

    Returns:
        `torch.FloatTensor` of shape `(frames, 3, 224, 224)`.
    """
    assets = ROOT / "hf_ttr" / "assets"
    processor: Any = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(assets / "vit-demo")
    return first_frames(processor, assets / "demo.mp4", frames)[0]


def first_frames(processor: Any, path: Path, count: int) -> torch.Tensor:
    """
    The first frames of a video, the last one again and again where it has fewer. What was measured on them must not
    hang on how the processor chooses frames by itself.

    Returns:
        `torch.FloatTensor` of shape `(1, count, channels, height, width)`.
    """
    return _frames_at(processor, path, lambda total: [min(index, total - 1) for index in range(count)])


def spread_frames(processor: Any, path: Path, count: int) -> torch.Tensor:
    """As `first_frames`, spread over the whole video; the first ones where it has fewer."""

    def chosen(total: int) -> list[int]:
        if count > total:
            return [min(index, total - 1) for index in range(count)]
        return [int(index) for index in np.linspace(0, total - 1, count).round()]

    return _frames_at(processor, path, chosen)


def _frames_at(processor: Any, path: Path, chosen: Callable[[int], list[int]]) -> torch.Tensor:
    frames, _ = read_frames(path, chosen)
    pixels: torch.Tensor = processor(frames, do_sample_frames=False, return_tensors="pt").pixel_values
    return pixels


def kl_divergence(dense: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """KL divergence in nats of the class distributions of two logits, over the last dimension."""
    log_p, log_q = dense.log_softmax(-1), other.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []
