"""Configurations of a SigLIP with temporal token reuse."""

from typing import Any, ClassVar

from transformers import PretrainedConfig, SiglipConfig, SiglipTextConfig, SiglipVisionConfig

from ..configuration_reuse import ReuseConfigMixin, TextReuseConfigMixin


class TemporalReuseSiglipVisionConfig(ReuseConfigMixin, SiglipVisionConfig):
    """
    A `SiglipVisionConfig` with the settings of reuse and the number of frames that a clip is sampled to.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
            No token in front shows what the model looks at: `saliency_weight` has no effect.
        num_frames (`int`, defaults to 16): frames that pipelines take from a clip. The model itself takes any number.
        kwargs: everything that `SiglipVisionConfig` takes.
    """

    model_type = "temporal_reuse_siglip_vision_model"
    parent_model_type: ClassVar[str] = "siglip_vision_model"
    parent_name: ClassVar[str] = "SigLIP"

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int = 16


class TemporalReuseSiglipConfig(TextReuseConfigMixin, SiglipConfig):
    """
    A `SiglipConfig` whose vision model reuses tokens.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; as `vision_config` has it
            if left out.
        num_frames (`int`, *optional*): frames that pipelines take from a clip; as `vision_config` has it if left out.
        hypothesis_template (`str`, *optional*): what the labels were put into before the text tower read them, of a
            model that holds what it made of them (see `hf_ttr.zero_shot`).
        kwargs: everything that `SiglipConfig` takes; `vision_config` is a `TemporalReuseSiglipVisionConfig`.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseSiglipConfig

    >>> config = TemporalReuseSiglipConfig(temporal_reuse={"compute_budget": 0.2})
    >>> config.vision_config.temporal_reuse.compute_budget
    0.2
    ```
    """

    model_type = "temporal_reuse_siglip"
    parent_model_type: ClassVar[str] = "siglip"
    parent_name: ClassVar[str] = "SigLIP"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": TemporalReuseSiglipVisionConfig,
        "text_config": SiglipTextConfig,
    }

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int | None = None
    hypothesis_template: str | None = None


__all__ = ["TemporalReuseSiglipConfig", "TemporalReuseSiglipVisionConfig"]
