"""Models of the sizes that people run, with random weights, and streams of which a share of the patches changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    Dinov2Config,
    Dinov2ForImageClassification,
    SiglipConfig,
    SiglipForImageClassification,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    ViTConfig,
    ViTForImageClassification,
)


@dataclass(frozen=True)
class Scene:
    """
    A model and the frames that it takes.

    Attributes:
        title (`str`): for tables.
        build: makes the model of transformers; the argument is whether a tiny one will do.
        image_size, patch (`int`): sides, in pixels.
        frames (`int`): of a window; 1 for models of frames.
    """

    title: str
    build: Callable[[bool], Any]
    image_size: int
    patch: int
    frames: int = 1

    def model(self, device: torch.device, dtype: torch.dtype, quick: bool) -> Any:
        """The model, ready to run."""
        torch.manual_seed(0)
        return self.build(quick).eval().to(device, dtype)

    @property
    def patches(self) -> int:
        """Patches of a frame."""
        side: int = self.image_size // self.patch
        return side * side


def _sizes(quick: bool, hidden: int, layers: int, heads: int, mlp: int) -> dict[str, int]:
    if quick:
        hidden, layers, heads, mlp = 32, 2, 2, 48
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": mlp,
    }


def _vit(hidden: int, layers: int, heads: int, image_size: int) -> Callable[[bool], Any]:
    def build(quick: bool) -> Any:
        sizes: Any = _sizes(quick, hidden, layers, heads, 4 * hidden)
        sizes |= {"image_size": image_size, "patch_size": 16, "num_labels": 1000}
        return ViTForImageClassification(ViTConfig(**sizes))

    return build


def _siglip(quick: bool) -> Any:
    sizes: Any = _sizes(quick, 1152, 27, 16, 4304)
    text = _sizes(True, 0, 0, 0, 0)
    config = SiglipConfig(vision_config={**sizes, "image_size": 384, "patch_size": 14}, text_config=text)
    config.num_labels = 1000
    return SiglipForImageClassification(config)


def _dinov2(quick: bool) -> Any:
    sizes: Any = _sizes(quick, 1024, 24, 16, 4096)
    del sizes["intermediate_size"]
    sizes |= {"image_size": 518, "patch_size": 14, "num_labels": 1000}
    return Dinov2ForImageClassification(Dinov2Config(**sizes))


def _videomae(quick: bool) -> Any:
    sizes: Any = _sizes(quick, 768, 12, 12, 3072)
    sizes |= {"image_size": 64 if quick else 224, "num_labels": 400}
    return VideoMAEForVideoClassification(VideoMAEConfig(**sizes))


SCENES = {
    "vit-b": Scene("ViT-B/16 at 224", _vit(768, 12, 12, 224), 224, 16),
    "vit-l": Scene("ViT-L/16 at 224", _vit(1024, 24, 16, 224), 224, 16),
    "vit-b-384": Scene("ViT-B/16 at 384", _vit(768, 12, 12, 384), 384, 16),
    "siglip": Scene("the image tower of SigLIP so400m/14 at 384", _siglip, 384, 14),
    "dinov2-l": Scene("DINOv2 ViT-L/14 at 518", _dinov2, 518, 14),
    "videomae-b": Scene("VideoMAE-B, windows of 16 frames at 224", _videomae, 224, 16, frames=16),
}


def changing_streams(
    streams: int,
    frames: int,
    share: float,
    image_size: int,
    patch: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> torch.Tensor:
    """
    Static scenes of noise, a different one for each stream, in which a random share of the patches changes in every
    frame.

    Returns:
        `torch.Tensor` of shape `(frames, streams, 3, image_size, image_size)`.
    """
    generator = torch.Generator(device).manual_seed(seed)
    side = -(-image_size // patch)

    def noise() -> torch.Tensor:
        return torch.randn(streams, 3, image_size, image_size, generator=generator, device=device, dtype=dtype)

    found = [noise()]
    for _ in range(frames - 1):
        changed = torch.rand(streams, 1, side, side, generator=generator, device=device) < share
        changed = changed.repeat_interleave(patch, 2).repeat_interleave(patch, 3)[..., :image_size, :image_size]
        found.append(torch.where(changed, noise(), found[-1]))
    return torch.stack(found)
