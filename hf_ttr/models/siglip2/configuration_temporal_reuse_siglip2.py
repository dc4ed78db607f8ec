"""Configurations of a SigLIP 2 with temporal token reuse."""

from typing import Any, ClassVar

from transformers import PretrainedConfig, Siglip2Config, Siglip2TextConfig, Siglip2VisionConfig

from ...checks import height_and_width
from ..configuration_reuse import ReuseConfigMixin, TextReuseConfigMixin


class TemporalReuseSiglip2VisionConfig(ReuseConfigMixin, Siglip2VisionConfig):
    """
    A `Siglip2VisionConfig` with the settings of reuse and the number of frames that a clip is sampled to.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
            No token in front shows what the model looks at: `saliency_weight` has no effect.
        num_frames (`int`, defaults to 16): frames that pipelines take from a clip. The model itself takes any number.
        kwargs: everything that `Siglip2VisionConfig` takes.
    """

    model_type = "temporal_reuse_siglip2_vision_model"
    parent_model_type: ClassVar[str] = "siglip2_vision_model"
    parent_name: ClassVar[str] = "SigLIP 2"

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int = 16

    @property
    def frame_size(self) -> tuple[int, int]:
        """See `ReuseConfigMixin.frame_size`; the one for whose patches there are positions."""
        side, (height, width) = int(self.num_patches**0.5), height_and_width(self.patch_size)
        return side * height, side * width


class TemporalReuseSiglip2Config(TextReuseConfigMixin, Siglip2Config):
    """
    A `Siglip2Config` whose vision model reuses tokens.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; as `vision_config` has it
            if left out.
        num_frames (`int`, *optional*): frames that pipelines take from a clip; as `vision_config` has it if left out.
        hypothesis_template (`str`, *optional*): what the labels were put into before the text tower read them, of a
            model that holds what it made of them (see `hf_ttr.zero_shot`).
        kwargs: everything that `Siglip2Config` takes; `vision_config` is a `TemporalReuseSiglip2VisionConfig`.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseSiglip2Config

    >>> config = TemporalReuseSiglip2Config(temporal_reuse={"compute_budget": 0.2})
    >>> config.vision_config.temporal_reuse.compute_budget
    0.2
    ```
    """

    model_type = "temporal_reuse_siglip2"
    parent_model_type: ClassVar[str] = "siglip2"
    parent_name: ClassVar[str] = "SigLIP 2"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": TemporalReuseSiglip2VisionConfig,
        "text_config": Siglip2TextConfig,
    }

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int | None = None
    hypothesis_template: str | None = None


__all__ = ["TemporalReuseSiglip2Config", "TemporalReuseSiglip2VisionConfig"]
