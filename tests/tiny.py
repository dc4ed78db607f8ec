"""Tiny models and clips that change in known ways."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import torch
from transformers import (
    PreTrainedModel,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    ViTConfig,
    ViTForImageClassification,
)

from hf_ttr import TemporalReuseViTConfig, TemporalReuseViTForVideoClassification


# 6 x 6 patches and CLS make 37 tokens: frames of 1, up to 16, up to 32, and 37 rows fall into different groups.
TINY_VIT: dict[str, Any] = {
    "image_size": 24,
    "patch_size": 4,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_labels": 5,
    # Large enough for attention to be far from uniform.
    "initializer_range": 0.2,
}
# 4 tubelets of 6 x 6 patches make 144 slots.
TINY_VIDEOMAE: dict[str, Any] = {
    **TINY_VIT,
    "num_frames": 8,
    "tubelet_size": 2,
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
}


TINY_VIVIT: dict[str, Any] = {
    **{name: value for name, value in TINY_VIT.items() if name != "patch_size"},
    "num_hidden_layers": 2,
    "num_frames": 8,
    "tubelet_size": [2, 4, 4],
}
# 8 times of 6 x 6 patches, and CLS.
TINY_TIMESFORMER: dict[str, Any] = {**TINY_VIT, "num_hidden_layers": 2, "num_frames": 8}
# The cap is so low that it counts.
TINY_VIDEOPRISM: dict[str, Any] = {
    **{name: value for name, value in TINY_VIT.items() if name not in ("patch_size", "num_hidden_layers")},
    "num_spatial_layers": 2,
    "num_temporal_layers": 1,
    "num_auxiliary_layers": 1,
    "num_frames": 8,
    "tubelet_size": [1, 4, 4],
    "attn_logit_softcapping": 2.0,
}
TINY_VJEPA2: dict[str, Any] = {
    **{name: value for name, value in TINY_VIT.items() if name not in ("image_size", "intermediate_size")},
    "num_hidden_layers": 2,
    "crop_size": 24,
    "frames_per_clip": 8,
    "tubelet_size": 2,
    "mlp_ratio": 1.5,
    "num_pooler_layers": 1,
    "pred_hidden_size": 16,
    "pred_num_attention_heads": 2,
    "pred_num_hidden_layers": 1,
}


Model = TypeVar("Model", bound=PreTrainedModel)
# Kept ready to be copied.
_made: dict[str, Any] = {}
MOST_MADE = 200


def made_once(make: Callable[[], Model], seed: int, *key: Any) -> Model:
    """
    A model of one's own: to copy one takes a seventh of the time that its random weights take.

    Args:
        make: makes the model.
        seed (`int`): of its weights; what is random next is the same whether the model was made or copied.
        key: all that the model hangs on, told apart by `repr`.
    """
    text = repr((seed, *key))
    if text not in _made:
        if len(_made) >= MOST_MADE:
            _made.clear()
        torch.manual_seed(seed)
        _made[text] = make()
    torch.manual_seed(seed)
    return copy.deepcopy(_made[text])


def tiny_parent(seed: int = 0, **config: Any) -> ViTForImageClassification:
    """A random `ViTForImageClassification`."""
    config = {**TINY_VIT, **config}
    return made_once(lambda: ViTForImageClassification(ViTConfig(**config)).eval(), seed, "ViT", config)


def tiny_video_classifier(seed: int = 0, **settings: Any) -> TemporalReuseViTForVideoClassification:
    """A video classifier with the weights of `tiny_parent` and the given settings of reuse."""

    def make() -> TemporalReuseViTForVideoClassification:
        parent = tiny_parent(seed)
        config = TemporalReuseViTConfig.from_parent_config(parent.config, settings)
        model = TemporalReuseViTForVideoClassification(config)
        model.load_state_dict(parent.state_dict())
        return model.eval()

    # Tests register methods of reduction, of which several have the same name.
    return make() if "reduction" in settings else made_once(make, seed, "ViT with reuse", settings)


def tiny_videomae(seed: int = 0, **config: Any) -> VideoMAEForVideoClassification:
    """A random `VideoMAEForVideoClassification`."""
    config = {**TINY_VIDEOMAE, **config}
    return made_once(lambda: VideoMAEForVideoClassification(VideoMAEConfig(**config)).eval(), seed, "VideoMAE", config)


def make_clip(
    batch: int = 2, frames: int = 7, size: tuple[int, int] = (24, 24), patch: int = 4, channels: int = 3, seed: int = 0
) -> torch.Tensor:
    """
    Streams with a still background on which, patch by patch, something happens.

    In every frame but the second a few patches change by much and a few by little; the second repeats the first; the
    first stream is cut to another scene in the middle.

    Returns:
        `torch.FloatTensor` of shape `(batch, frames, channels, height, width)`.
    """
    return _clip(batch, frames, tuple(size), patch, channels, seed).clone()


@lru_cache(maxsize=200)
def _clip(batch: int, frames: int, size: tuple[int, int], patch: int, channels: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    grid = (size[0] // patch, size[1] // patch)
    video = torch.randn(batch, 1, channels, *size, generator=generator).repeat(1, frames, 1, 1, 1)
    for stream in range(batch):
        for frame in range(2, frames):
            video[stream, frame] = video[stream, frame - 1]
            if stream == 0 and frame == frames // 2 and frames > 3:
                video[stream, frame] = torch.randn(channels, *size, generator=generator)
            for change in (2.0, 2.0, 0.1, 0.02):
                row, column = (int(torch.randint(side, (1,), generator=generator)) * patch for side in grid)
                noise = torch.randn(channels, patch, patch, generator=generator)
                video[stream, frame, :, row : row + patch, column : column + patch] += change * noise
    return video
