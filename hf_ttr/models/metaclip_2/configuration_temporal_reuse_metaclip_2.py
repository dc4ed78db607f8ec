"""Configurations of a MetaCLIP 2 with temporal token reuse."""

from typing import Any, ClassVar

from transformers import MetaClip2Config, MetaClip2TextConfig, MetaClip2VisionConfig, PretrainedConfig

from ..configuration_reuse import ReuseConfigMixin, TextReuseConfigMixin


class TemporalReuseMetaClip2VisionConfig(ReuseConfigMixin, MetaClip2VisionConfig):
    """
    A `MetaClip2VisionConfig` with the settings of reuse and the number of frames that a clip is sampled to.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
        num_frames (`int`, defaults to 16): frames that pipelines take from a clip. The model itself takes any number.
        kwargs: everything that `MetaClip2VisionConfig` takes.
    """

    model_type = "temporal_reuse_metaclip_2_vision_model"
    parent_model_type: ClassVar[str] = "metaclip_2_vision_model"
    parent_name: ClassVar[str] = "MetaCLIP 2"
    prefix_tokens: ClassVar[int] = 1  # type: ignore[misc]

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int = 16


class TemporalReuseMetaClip2Config(TextReuseConfigMixin, MetaClip2Config):
    """
    A `MetaClip2Config` whose vision model reuses tokens.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; as `vision_config` has it
            if left out.
        num_frames (`int`, *optional*): frames that pipelines take from a clip; as `vision_config` has it if left out.
        hypothesis_template (`str`, *optional*): what the labels were put into before the text tower read them, of a
            model that holds what it made of them (see `hf_ttr.zero_shot`).
        kwargs: everything that `MetaClip2Config` takes; `vision_config` is a `TemporalReuseMetaClip2VisionConfig`.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseMetaClip2Config

    >>> config = TemporalReuseMetaClip2Config(temporal_reuse={"compute_budget": 0.2})
    >>> config.vision_config.temporal_reuse.compute_budget
    0.2
    ```
    """

    model_type = "temporal_reuse_metaclip_2"
    parent_model_type: ClassVar[str] = "metaclip_2"
    parent_name: ClassVar[str] = "MetaCLIP 2"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": TemporalReuseMetaClip2VisionConfig,
        "text_config": MetaClip2TextConfig,
    }

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int | None = None
    hypothesis_template: str | None = None


__all__ = ["TemporalReuseMetaClip2Config", "TemporalReuseMetaClip2VisionConfig"]
