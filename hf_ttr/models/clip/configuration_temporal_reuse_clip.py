"""Configurations of a CLIP with temporal token reuse."""

from typing import Any, ClassVar

from transformers import CLIPConfig, CLIPTextConfig, CLIPVisionConfig, PretrainedConfig

from ..configuration_reuse import ReuseConfigMixin, TextReuseConfigMixin


class TemporalReuseCLIPVisionConfig(ReuseConfigMixin, CLIPVisionConfig):
    """
    A `CLIPVisionConfig` with the settings of reuse and the number of frames that a clip is sampled to.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
        num_frames (`int`, defaults to 16): frames that pipelines take from a clip. The model itself takes any number.
        kwargs: everything that `CLIPVisionConfig` takes.
    """

    model_type = "temporal_reuse_clip_vision_model"
    parent_model_type: ClassVar[str] = "clip_vision_model"
    parent_name: ClassVar[str] = "CLIP"
    prefix_tokens: ClassVar[int] = 1  # type: ignore[misc]

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int = 16


class TemporalReuseCLIPConfig(TextReuseConfigMixin, CLIPConfig):
    """
    A `CLIPConfig` whose vision model reuses tokens.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; as `vision_config` has it
            if left out.
        num_frames (`int`, *optional*): frames that pipelines take from a clip; as `vision_config` has it if left out.
        hypothesis_template (`str`, *optional*): what the labels were put into before the text tower read them, of a
            model that holds what it made of them (see `hf_ttr.zero_shot`).
        kwargs: everything that `CLIPConfig` takes; `vision_config` is a `TemporalReuseCLIPVisionConfig`.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseCLIPConfig

    >>> config = TemporalReuseCLIPConfig(temporal_reuse={"compute_budget": 0.2})
    >>> config.vision_config.temporal_reuse.compute_budget
    0.2
    ```
    """

    model_type = "temporal_reuse_clip"
    parent_model_type: ClassVar[str] = "clip"
    parent_name: ClassVar[str] = "CLIP"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": TemporalReuseCLIPVisionConfig,
        "text_config": CLIPTextConfig,
    }

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int | None = None
    hypothesis_template: str | None = None


__all__ = ["TemporalReuseCLIPConfig", "TemporalReuseCLIPVisionConfig"]
